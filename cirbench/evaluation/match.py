"""Which file of a folder of outputs belongs to which row of the manifest.

By the names of the LQ images or of the HQ images in one of the usual layouts, by a pattern of the
user's, or by a CSV with the columns ``row_id`` and ``path``.
"""

from __future__ import annotations

import csv
import os
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..builder import store
from ..errors import CirbenchError
from ..sources import EXTENSIONS

ENDINGS = frozenset(EXTENSIONS | {".npy"})
"""Endings of the files that are looked at."""

_MOST_FOLDERS = 200_000

FIELDS = (
    *("set", "task", "codec", "level", "folder", "level_value", "kind", "name", "stem", "file"),
    *("row_id", "content_id"),
)
"""What a pattern may contain. ``name`` is the name inside the data set's ``lq`` folder, ``stem``
the HQ path without and ``file`` with its ending, ``folder`` the level with its variant."""

LAYOUTS = (
    *("{codec}/{folder}/{set}/{name}", "lq/{codec}/{folder}/{set}/{name}"),
    *("{set}/{codec}/{folder}/{name}", "{set}/{task}/{name}", "{task}/{set}/{name}"),
    *("{codec}/{folder}/{name}", "{task}/{name}", "{set}/{name}", "{name}", "{row_id}"),
)
"""Tried in this order without a pattern; the one that fits most rows is used."""


@dataclass(frozen=True)
class Matched:
    """The outputs found.

    Attributes:
        paths: file by row id.
        problems: row id to one sentence, for rows without a file or with two.
        notes: remarks about the folder as a whole.
    """

    paths: dict[str, Path]
    problems: dict[str, str]
    notes: list[str] = field(default_factory=list)


def place(row: Mapping[str, Any]) -> tuple[str, str]:
    """(level folder, name) of a row inside the data set: ``qf10``, ``bikes``."""
    parts = PurePosixPath(row["bitstream_path"]).parts
    if len(parts) < 5:
        raise CirbenchError(
            f"the bitstream_path {'/'.join(parts)!r} is not bitstreams/CODEC/LEVEL/SET/NAME"
        )
    return parts[2], PurePosixPath(*parts[4:]).with_suffix("").as_posix()


def names(row: Mapping[str, Any]) -> dict[str, str]:
    """The values of :data:`FIELDS` for a row."""
    folder, name = place(row)
    own = {
        "folder": folder,
        "name": name,
        "stem": PurePosixPath(row["hq_path"]).with_suffix("").as_posix(),
        "file": row["hq_path"],
    }
    return own | {key: str(row[key]) for key in FIELDS if key not in own}


def match(
    folder: Path, rows: Sequence[Mapping[str, Any]], pattern: str = "", table: Path | None = None
) -> Matched:
    """Find the output of every row below ``folder``.

    Args:
        folder: the outputs.
        rows: rows of the manifest.
        pattern: e.g. ``"{set}/{task}/{name}.png"`` with :data:`FIELDS`; without an ending of
            :data:`ENDINGS`, any of them.
        table: a CSV instead, with columns ``row_id`` and ``path`` (relative to ``folder``).

    Raises CirbenchError when nothing at all can be matched, and for a bad pattern or CSV, or both.
    """
    if not folder.is_dir():
        raise CirbenchError(f"{folder} is no folder; --restored takes the folder of the outputs")
    if table is not None and pattern:
        raise CirbenchError("--pattern and --csv both say which output is which; give one of them")
    if table is not None:
        return _from_csv(folder, rows, table)
    files = list(_files(folder))
    by_stem: dict[str, list[str]] = {}
    for file in files:
        by_stem.setdefault(_stem(file), []).append(file)
    fields = {row["row_id"]: names(row) for row in rows}
    if pattern:
        wanted = _filled(pattern, fields)
        if wanted is None:
            raise CirbenchError(
                f"the pattern {pattern!r} names one file for several rows; add what tells them "
                "apart, such as {task} or {name}"
            )
    else:
        pattern, wanted = _layout(folder, fields, by_stem)
    found = _look_up(folder, wanted, set(files), by_stem)
    if not found.paths:
        example = next(iter(wanted.values()), "")
        raise CirbenchError(
            f"no file in {folder} is called as {pattern!r} says (for example {example}); "
            "see --pattern and --csv"
        )
    used = {path.relative_to(folder).as_posix() for path in found.paths.values()}
    unused = [file for file in files if file not in used]
    found.notes.append(f"{folder}: matched as {pattern}")
    if unused:
        found.notes.append(
            f"{folder}: files that belong to no evaluated row: {len(unused)}, such as {unused[0]}"
        )
    return found


def _files(folder: Path) -> Iterator[str]:
    """Relative POSIX paths of all outputs, in order; links that lead back are not followed."""
    stack: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    for _ in range(_MOST_FOLDERS):
        if not stack:
            return
        prefix, above = stack.pop()
        try:
            status = os.stat(folder / prefix)
            entries = sorted(os.scandir(folder / prefix), key=lambda entry: entry.name)
        except OSError:  # a folder that may not be entered
            continue
        here = (status.st_dev, status.st_ino)
        if here in above:
            continue
        inside = []
        for entry in entries:
            if os.path.isdir(entry.path):
                inside.append((f"{prefix}{entry.name}/", above | {here}))
            elif _is_output(entry.name):
                yield prefix + entry.name
        stack += reversed(inside)
    raise CirbenchError(f"{folder} has more than {_MOST_FOLDERS} folders; do links go in a circle?")


def _is_output(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in ENDINGS and not name.startswith(".")


def _stem(path: str) -> str:
    head, ending = os.path.splitext(path)
    return head if ending.lower() in ENDINGS else path


def _filled(pattern: str, fields: Mapping[str, Mapping[str, str]]) -> dict[str, str] | None:
    """The pattern for every row; None when two rows get one file."""
    try:
        used = [name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None]
    except ValueError as error:
        raise CirbenchError(f"the pattern {pattern!r} is not valid: {error}") from error
    unknown = [name for name in used if name not in FIELDS]
    if unknown:
        raise CirbenchError(
            f"the pattern {pattern!r} has a field {unknown[0]!r}; it may have {', '.join(FIELDS)}"
        )
    try:
        wanted = {row_id: pattern.format(**values) for row_id, values in fields.items()}
    except (ValueError, LookupError) as error:
        raise CirbenchError(f"the pattern {pattern!r} is not valid: {error}") from error
    wanted = {row_id: re.sub(r"^(\./)+", "", path) for row_id, path in wanted.items()}
    return wanted if len(set(wanted.values())) == len(wanted) else None


def _layout(
    folder: Path,
    fields: Mapping[str, Mapping[str, str]],
    by_stem: Mapping[str, Sequence[str]],
) -> tuple[str, dict[str, str]]:
    """The usual layout that fits most rows."""
    fits: list[tuple[int, int, str, dict[str, str]]] = []
    for layout in LAYOUTS:
        for name in ("{name}", "{stem}", "{file}"):
            pattern = layout.replace("{name}", name)
            wanted = _filled(pattern, fields)
            if wanted:
                count = sum(path in by_stem for path in wanted.values())
                fits.append((count, -len(fits), pattern, wanted))
    best = max(fits, default=(0, 0, "", {}))
    if not best[0]:
        examples = ", ".join(dict.fromkeys(next(iter(w.values())) for _, _, _, w in fits))
        raise CirbenchError(
            f"no file in {folder} has the name of a row (looked for {examples}, ending in "
            f"{' '.join(sorted(ENDINGS))}); say how yours are called with --pattern or --csv"
        )
    return best[2], best[3]


def _look_up(
    folder: Path,
    wanted: Mapping[str, str],
    files: set[str],
    by_stem: Mapping[str, Sequence[str]],
) -> Matched:
    found = Matched({}, {})
    for row_id, path in wanted.items():
        there = [path] if path in files else by_stem.get(path, [])
        if len(there) == 1:
            found.paths[row_id] = folder / there[0]
        elif there:
            found.problems[row_id] = f"there are two outputs, {' and '.join(there)}; keep one"
        else:
            found.problems[row_id] = f"the output is missing (looked for {path})"
    return found


def _from_csv(folder: Path, rows: Sequence[Mapping[str, Any]], table: Path) -> Matched:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CirbenchError(f"{table} cannot be read as a CSV ({error})") from error
    if not lines or not {"row_id", "path"} <= set(lines[0]):
        raise CirbenchError(f"{table} needs a header with row_id and path, and lines under it")
    known = {row["row_id"] for row in rows}
    found = Matched({}, {})
    strange = 0
    for line in lines:
        row_id, path = line["row_id"], line["path"] or ""
        if row_id not in known:
            strange += 1
        elif row_id in found.paths or row_id in found.problems:
            found.paths.pop(row_id, None)
            found.problems[row_id] = f"{table.name} names two outputs; keep one"
        elif not path or not os.path.isfile(store.inside(folder, path)):
            found.problems[row_id] = f"the output is missing ({table.name} says {path!r})"
        else:
            found.paths[row_id] = store.inside(folder, path)
    for row_id in known - {*found.paths, *found.problems}:
        found.problems[row_id] = f"the output is missing ({table.name} has no such row_id)"
    if not found.paths:
        raise CirbenchError(f"{table} matches no row of the data set; check its row_id column")
    if strange:
        found.notes.append(f"{table}: lines whose row_id is none of the evaluated rows: {strange}")
    return found
