"""``cirbench materialize``: turn a bitstream data set into PNGs, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from . import __version__, codecs, manifest
from .builder import store
from .builder.journal import FILE_NAME, Journal
from .errors import CirbenchError
from .manifest import Manifest


def materialize(folder: str | Path, mode: str, *, jobs: int | None = None) -> tuple[int, int]:
    """Give every row of a data set the pixels that ``--store mode`` keeps.

    Pixels are decoded from the bitstream and checked against ``lq_sha256`` before they are written.

    Args:
        folder: a data set made on this machine (it needs its journal).
        mode: ``png``, ``bitstream`` or ``bitstream-only``.
        jobs: rows at a time; None is one per core.

    Returns:
        (PNGs written, PNGs removed).

    Raises CirbenchError for another mode, and when the journal is missing, a bitstream decodes to
    other pixels than recorded, or the disk is full; finished rows stay finished.
    """
    if mode not in store.MODES:
        raise CirbenchError(f"store cannot be {mode!r}; it is one of {', '.join(store.MODES)}")
    folder = Path(folder)
    if not (folder / FILE_NAME).is_file():
        raise CirbenchError(
            f"{folder} has no {FILE_NAME}; only a data set built here can be changed"
        )
    with store.lock(folder), Journal(folder) as journal:
        manifest.write(folder, journal, __version__)
        data = Manifest.open(folder).usable
        todo = [row for row in data if _wanted(row, mode) != row["lq_path"]]
        parallel = joblib.Parallel(
            n_jobs=jobs or joblib.cpu_count(), backend="threading", return_as="generator"
        )
        written = 0
        try:
            with threadpool_limits(1):
                calls = (joblib.delayed(_prepare)(data, row, mode) for row in todo)
                bar = tqdm(parallel(calls), total=len(todo), desc="materialize", disable=None)
                for row, size in bar:
                    path = _wanted(row, mode)
                    journal.update(row["row_id"], lq_path=path, lq_bytes=size)
                    if path is None:
                        journal.commit()  # first forget the file, then remove it
                        store.inside(folder, row["lq_path"]).unlink(missing_ok=True)
                    written += path is not None
            journal.set_meta("store", mode)
        finally:
            manifest.write(folder, journal, __version__)
    return written, len(todo) - written


def _wanted(row: Mapping[str, Any], mode: str) -> str | None:
    """The ``lq_path`` of a row in this mode."""
    codec = codecs.get(row["codec"])
    if not store.keeps_pixels(mode, codec):
        return None
    set_folder, name = row["bitstream_path"].split("/", 4)[-2:]
    name = name.removesuffix(f".{codec.extension}")
    return store.lq_path(row["codec"], row["level"], row["variant"], set_folder, name)


def _prepare(
    data: Manifest, row: Mapping[str, Any], mode: str
) -> tuple[Mapping[str, Any], int | None]:
    """Write the row's PNG; before one is removed, prove that it can be made again.

    Returns the row and the PNG's size in bytes.
    """
    pixels = data.lq(row, stored=False)
    path = _wanted(row, mode)
    if path is None:
        return row, None
    png = store.encode_png(pixels)
    store.write(data.folder, path, png)
    return row, len(png)
