"""``cirbench verify``: is every byte still what the manifest says?"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from . import codecs
from .backends import THREADS, Backend, attempts
from .backends.workers import Call, Workers, opened
from .builder import plan, store
from .errors import CirbenchError
from .manifest import FILE_NAME, SUMS_NAME, TIMINGS_NAME, Manifest

_HQ = ("hq_root", "hq_path", "tile", "hq_sha256", "photo_sha256")


_Photos = dict[tuple[str, str], dict[tuple[str, ...], dict[str, Any]]]
"""By root and path: what the rows say of a photo, whole and tile by tile."""


@dataclass
class Report:
    """What a check found: rows and files looked at, and one sentence per problem."""

    rows: int = 0
    files: int = 0
    problems: list[str] = field(default_factory=list)


def verify(
    folder: str | Path,
    *,
    decode: bool = False,
    jobs: int | None = None,
    hq_roots: Mapping[str, str | Path] | None = None,
    backend: Backend = THREADS,
) -> Report:
    """Compare every file of a data set with its manifest.

    Checks the manifest's own checksum and row ids, the pixels of every HQ image, every bitstream
    and every stored LQ image; with ``decode`` also what each bitstream decodes to.

    Args:
        folder: a data set.
        decode: decode every bitstream and compare its pixels with ``lq_sha256``.
        jobs: rows at a time; None is one per core.
        hq_roots: folders of HQ roots, overriding ``roots.toml``.
        backend: where rows are checked; a cluster has to see the same folders.

    Returns:
        The report; ``problems`` is empty when all is well.

    Raises CirbenchError when there is no manifest.
    """
    folder = Path(folder)
    report = Report(files=2)
    if not (folder / FILE_NAME).is_file():
        Manifest.open(folder)  # says what is missing
    report.problems += _check_sums(folder)
    try:
        manifest = Manifest.open(folder, hq_roots)
    except CirbenchError as error:
        report.problems.append(str(error))
        return report
    report.rows = len(manifest)
    known = manifest.table["hq_root"].unique().to_pylist()
    for name in hq_roots or {}:
        if name not in known:
            raise CirbenchError(f"--hq-root {name}: this data set has only {', '.join(known)}")
    photos: _Photos = {}
    for row in manifest.usable:
        images = photos.setdefault((row["hq_root"], row["hq_path"]), {})
        kept = {name: row[name] for name in _HQ}
        images.setdefault(tuple(kept.values()), kept)
    backend.check_resources(codecs.names(), "codec")
    bar = tqdm(total=len(photos) + len(manifest.usable), desc="verify", disable=None)
    found: dict[int, list[str]] = {}
    with opened(backend, jobs, folder) as workers, bar:
        for place, files, problems in _results(manifest, photos, decode, workers):
            report.files += files
            if problems:
                found[place] = problems
            bar.update()
    report.problems += [problem for place in sorted(found) for problem in found[place]]
    return report


def _results(
    manifest: Manifest, photos: _Photos, decode: bool, workers: Workers
) -> Iterator[tuple[int, int, list[str]]]:
    """(place in the report, files read, problems) of all photos and rows, as they come."""
    reader = manifest if workers.choice.is_here else manifest.reader()

    def of_photos() -> Iterator[Call]:
        for place, (name, images) in enumerate(photos.items()):
            photo = "/".join(name)
            args = (place, photo, _check_hq, reader, [*images.values()])
            yield Call(_checked, args, (_note(photo),))

    def of_rows(wanted: Container[str]) -> Iterator[Call]:
        for place, row in enumerate(manifest.usable, len(photos)):
            if row["codec"] in wanted:
                args = (place, row["row_id"], _check_row, reader, row, decode)
                yield Call(_checked, args, (_note(row["row_id"]),))

    with closing(workers.results(of_photos())) as results:
        yield from results
    names = frozenset(manifest.usable.read("codec")["codec"].unique().to_pylist())
    groups = workers.choice.groups(names) if decode else {(): names}
    for needs, wanted in groups.items():
        with closing(workers.results(of_rows(wanted), needs)) as results:
            yield from results


def _note(name: str) -> str:
    return f"verify {name}"


def _checked(
    place: int, name: str, check: Callable[..., tuple[int, list[str]]], *args: Any
) -> tuple[int, int, list[str]]:
    """Runs in a worker; the last argument is the folder for notes."""
    *known, notes = args

    def run() -> tuple[int, list[str]]:
        return check(*known)

    def give_up() -> tuple[int, list[str]]:
        return 0, [f"{name}: {attempts.LOST}"]

    return place, *attempts.run(notes, _note(name), (run, run, run, give_up))


def _check_sums(folder: Path) -> list[str]:
    """Manifest and timings against ``manifest.parquet.sha256`` beside them."""
    beside = folder / SUMS_NAME
    if not beside.is_file():
        return [f"{beside} is missing; the manifest itself cannot be checked"]
    lines = beside.read_text(errors="replace").splitlines()
    wanted = dict(line.split("  ", 1)[::-1] for line in lines if "  " in line)
    problems = []
    for name in (FILE_NAME, TIMINGS_NAME):
        path = folder / name
        if not path.is_file():
            problems.append(f"{path} is missing")
        elif wanted.get(name) != store.file_sha256(path):
            problems.append(f"{path} is not the file its checksum in {beside.name} was made from")
    return problems


def _check_hq(manifest: Manifest, rows: Sequence[Mapping[str, Any]]) -> tuple[int, list[str]]:
    """(files read, problems) of one photo: as a whole, and every tile."""
    problems: dict[str, None] = {}
    for row in rows:
        try:
            manifest.hq(row)
        except CirbenchError as error:
            problems[str(error)] = None
    if not problems:
        whole = [row["hq_sha256"] for row in rows if not row["tile"]]
        here = whole[0] if whole else store.pixel_sha256(manifest.photo(rows[0]))
        if {row["photo_sha256"] for row in rows} != {here}:
            path = manifest.hq_path(rows[0])
            problems[f"{path} is not the photo its rows name (photo_sha256 differs)"] = None
    return 1, [*problems]


def _check_row(manifest: Manifest, row: Mapping[str, Any], decode: bool) -> tuple[int, list[str]]:
    """(files read, problems) of one row."""
    problems, files = [], 1
    if row["row_id"] != plan.recorded_row_id(row):
        problems.append(f"{FILE_NAME}: row {row['row_id']} does not fit its own columns")
    try:
        coded = manifest.bitstream(row)
        if store.sha256(coded) != row["bitstream_sha256"]:
            problems.append(
                f"{manifest.folder / row['bitstream_path']} has changed (sha256 differs)"
            )
        if row["lq_path"]:
            files += 1
            problems += _check_lq(manifest, row)
        if decode and not problems:
            manifest.lq(row, stored=False)
    except CirbenchError as error:
        problems.append(str(error))
    return files, problems


def _check_lq(manifest: Manifest, row: Mapping[str, Any]) -> list[str]:
    path = manifest.folder / row["lq_path"]
    try:
        data = path.read_bytes()
    except OSError as error:
        return [f"cannot read {path} ({error.strerror})"]
    if store.pixel_sha256(store.decode_png(data, str(path))) != row["lq_sha256"]:
        return [f"{path} has other pixels than recorded (sha256 differs)"]
    return []
