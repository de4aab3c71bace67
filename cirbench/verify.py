"""``cirbench verify``: is every byte still what the manifest says?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from . import codecs
from .builder import plan, store
from .errors import CirbenchError
from .manifest import FILE_NAME, SUMS_NAME, TIMINGS_NAME, Manifest
from .recipe import Task

_HQ = ("hq_root", "hq_path", "tile", "hq_sha256", "photo_sha256")


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
) -> Report:
    """Compare every file of a data set with its manifest.

    Checks the manifest's own checksum and row ids, the pixels of every HQ image, every bitstream
    and every stored LQ image; with ``decode`` also what each bitstream decodes to.

    Args:
        folder: a data set.
        decode: decode every bitstream and compare its pixels with ``lq_sha256``.
        jobs: rows at a time; None is one per core.
        hq_roots: folders of HQ roots, overriding ``roots.toml``.

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
    photos: dict[tuple[str, str], dict[tuple[str, ...], dict[str, Any]]] = {}
    for row in manifest.usable:
        images = photos.setdefault((row["hq_root"], row["hq_path"]), {})
        kept = {name: row[name] for name in _HQ}
        images.setdefault(tuple(kept.values()), kept)
    total = len(photos) + len(manifest.usable)
    parallel = joblib.Parallel(
        n_jobs=jobs or joblib.cpu_count(), backend="threading", return_as="generator"
    )

    def calls() -> Iterator[Any]:
        for images in photos.values():
            yield joblib.delayed(_check_hq)(manifest, [*images.values()])
        for row in manifest.usable:
            yield joblib.delayed(_check_row)(manifest, row, decode)

    with threadpool_limits(1):
        for files, problems in tqdm(parallel(calls()), total=total, desc="verify", disable=None):
            report.files += files
            report.problems += problems
    return report


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
    if row["row_id"] != _row_id(row):
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


def _row_id(row: Mapping[str, Any]) -> str:
    level = row["level"] if row["level_value"] is None else row["level_value"]
    task = Task(row["codec"], codecs.get(row["codec"]).level(level), {})
    joined = (row["set"], row["hq_path"], row["tile"] or "", row["hq_sha256"], task.key)
    return plan.digest(*joined, row["settings"])
