"""The golden manifest: what the sample photos and fast tasks gave, byte for byte, when it was made.

``python -m cirbench.golden`` builds them here and says whether anything differs, and which
library's version explains it; with ``--write`` it writes ``manifests/golden`` anew.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .builder.build import build
from .manifest import Manifest
from .resources import data_dir

FILE_NAME = "sample-quick.csv"
RECIPE = "quick"
COLUMNS = (
    *("hq_path", "task", "row_id", "bitstream_sha256", "lq_sha256"),
    *("encoder_version", "decoder_version"),
)

Row = Mapping[str, str]
"""One row of the golden manifest: the manifest's columns of :data:`COLUMNS`."""


@dataclass
class Comparison:
    """What a build gave, against the golden manifest.

    Attributes:
        equal: rows with equal ids and hashes, whatever the versions.
        explained: what differs and which library explains it: version or lack of it, each once.
        changed: rows that differ though every version is the same, one sentence each.
    """

    equal: int = 0
    explained: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)


def path() -> Path:
    """The golden manifest's file."""
    return data_dir("manifests") / "golden" / FILE_NAME


def read() -> list[Row]:
    """The golden manifest's rows."""
    with path().open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def make(folder: Path, jobs: int | None = None) -> tuple[list[Row], dict[str, str]]:
    """Build the golden rows into ``folder``; (their rows, why codecs were left out, by codec)."""
    result = build(recipe_name=RECIPE, out=folder, store_mode="bitstream-only", jobs=jobs)
    return rows(Manifest.open(folder)), result.unavailable


def rows(manifest: Manifest) -> list[Row]:
    """A data set's usable rows as the golden manifest has them, by photo and task."""
    table = manifest.usable.table.select(list(COLUMNS))
    return sorted(table.to_pylist(), key=_key)


def text(golden: Iterable[Row]) -> str:
    """The golden manifest's file as CSV."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(golden)
    return file.getvalue()


def compare(
    golden: Sequence[Row], here: Sequence[Row], missing: Mapping[str, str] | None = None
) -> Comparison:
    """Compare two builds row by row.

    A difference is explained by another encoder; where the bitstreams are equal, by another
    decoder; and where the HQ photo is a JPEG, by another libjpeg, which reads it.

    Args:
        golden: what is expected.
        here: what was built.
        missing: codecs that cannot run here, with the reason.
    """
    found = Comparison()
    explained: dict[str, None] = {}
    built = {_key(row): row for row in here}
    readers = [{row["decoder_version"] for row in some if _is_jpeg(row)} for some in (golden, here)]
    for row in golden:
        name, codec = " ".join(_key(row)), row["task"].split("-")[0]
        mine = built.pop(_key(row), None)
        if mine is None and codec in (missing or {}):
            explained[f"{codec} cannot run here: {(missing or {})[codec]}"] = None
        elif mine is None:
            found.changed.append(f"{name} was not built")
        elif not _differing(row, mine):
            found.equal += 1
        else:
            differing = _differing(row, mine)
            why = _explanation(row, mine, differing, readers)
            if why:
                explained[why] = None
            else:
                found.changed.append(f"{name}: {', '.join(differing)} changed, no version did")
    found.changed += [f"{' '.join(key)} is not in {FILE_NAME}; write it anew" for key in built]
    found.explained = list(explained)
    return found


def _key(row: Row) -> tuple[str, str]:
    return row["hq_path"], row["task"]


def _is_jpeg(row: Row) -> bool:
    return row["task"].startswith("jpeg-")


def _differing(row: Row, mine: Row) -> list[str]:
    return [n for n in ("row_id", "bitstream_sha256", "lq_sha256") if row[n] != mine[n]]


def _explanation(
    row: Row, mine: Row, differing: Sequence[str], readers: Sequence[set[str]]
) -> str | None:
    """Which version explains why two rows differ; None when none does."""
    if "row_id" in differing:  # other HQ pixels, or other settings
        read_by_libjpeg = row["hq_path"].lower().endswith((".jpg", ".jpeg"))
        if not read_by_libjpeg or readers[0] == readers[1]:
            return None
        old, new = (" and ".join(sorted(versions)) for versions in readers)
        return f"{row['hq_path']} was read by {old}, here by {new}"
    which = "encoder_version" if "bitstream_sha256" in differing else "decoder_version"
    if row[which] == mine[which]:
        return None
    return f"{row['task']} was made with {row[which]}, here with {mine[which]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare or, with ``--write``, write; the exit code is 1 when something changed."""
    parser = argparse.ArgumentParser(prog="python -m cirbench.golden")
    parser.add_argument("--write", action="store_true", help="write the golden manifest anew")
    write = parser.parse_args(arguments).write
    with tempfile.TemporaryDirectory(prefix="cirbench-golden-") as folder:
        here, missing = make(Path(folder) / "out")
    if write:
        if missing:
            print(f"not written: {', '.join(missing)} cannot run here")
            return 1
        path().parent.mkdir(exist_ok=True)
        path().write_text(text(here), encoding="utf-8")
        print(f"{path()}: {len(here)} rows")
        return 0
    found = compare(read(), here, missing)
    for line in found.explained:
        print(f"explained: {line}")
    for line in found.changed:
        print(f"changed: {line}")
    print(f"{found.equal} rows equal, {len(found.changed)} changed")
    return 1 if found.changed else 0


if __name__ == "__main__":
    sys.exit(main())
