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

    Raises CirbenchError when the journal is missing, a bitstream decodes to other pixels than
    recorded, or the disk is full; finished rows stay finished.
    """
    folder = Path(folder)
    if not (folder / FILE_NAME).is_file():
        raise CirbenchError(
            f"{folder} has no {FILE_NAME}; only a data set built here can be changed"
        )
    with store.lock(folder), Journal(folder) as journal:
        journal.set_meta("store", mode)
        data = Manifest.open(folder).usable
        todo = [row for row in data if _wants_pixels(row, mode) != bool(row["lq_path"])]
        parallel = joblib.Parallel(
            n_jobs=jobs or joblib.cpu_count(), backend="threading", return_as="generator"
        )
        written = 0
        try:
            with threadpool_limits(1):
                calls = (joblib.delayed(_change)(data, row) for row in todo)
                for row_id, path in tqdm(
                    parallel(calls), total=len(todo), desc="materialize", disable=None
                ):
                    journal.update(row_id, lq_path=path)
                    written += path is not None
        finally:
            manifest.write(folder, journal, __version__)
    return written, len(todo) - written


def _wants_pixels(row: Mapping[str, Any], mode: str) -> bool:
    slow = codecs.get(row["codec"]).decode_cost == "slow"
    return mode == "png" or (mode == "bitstream" and slow)


def _change(data: Manifest, row: Mapping[str, Any]) -> tuple[str, str | None]:
    """Write the row's PNG, or remove it; returns (row id, the new lq_path)."""
    if row["lq_path"]:
        data.lq(row, stored=False)  # never remove pixels that cannot be made again
        store.inside(data.folder, row["lq_path"]).unlink(missing_ok=True)
        return row["row_id"], None
    name = row["bitstream_path"].removeprefix("bitstreams/")
    path = f"lq/{name.removesuffix('.' + codecs.get(row['codec']).extension)}.png"
    store.write(data.folder, path, store.encode_png(data.lq(row, stored=False)))
    return row["row_id"], path
