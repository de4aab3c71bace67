"""HQ/LQ pairs of a data set as numpy arrays, one after the other; no torch needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..codecs import RGB
from ..manifest import Manifest
from .reader import Row, lq, select

_ORDER = ("set", "hq_root", "hq_path", "tile", "codec", "level_value", "task", "row_id")


class Pair(NamedTuple):
    """One row and its pictures, both uint8 (H, W, 3); ``hq`` cannot be written to."""

    row: Row
    hq: RGB
    lq: RGB


class Pairs:
    """All pairs of a data set, or those whose columns have the wanted values.

    In the order of the photos, so that a photo is decoded once for all its tasks. The HQ array is
    therefore shared between pairs; copy it to change it. Every picture is compared with its hash,
    as ``Manifest.hq`` and ``Manifest.lq`` do.

    >>> for row, hq, lq in Pairs("data/cir", kind="seen", codec=["jpeg", "webp"], split="test"):
    ...     print(row["set"], row["hq_path"], row["task"], hq.shape)

    Args:
        data: a data set's folder, or an open Manifest.
        wanted: column=value or column=[values]: kind, codec, level, task, set, split, ...

    Raises CirbenchError when there is no such data set, column or row.
    """

    def __init__(self, data: str | Path | Manifest, **wanted: Any) -> None:
        manifest = data if isinstance(data, Manifest) else Manifest.open(data)
        self.manifest = select(manifest, **wanted)
        keys = [(name, "ascending") for name in _ORDER]
        self._table = self.manifest.table.sort_by(keys)

    def __len__(self) -> int:
        return len(self.manifest)

    def __iter__(self) -> Iterator[Pair]:
        last, hq = None, None
        for batch in self._table.to_batches(max_chunksize=1024):
            for row in batch.to_pylist():
                photo = row["hq_root"], row["hq_path"], row["tile"], row["hq_sha256"]
                if hq is None or photo != last:
                    last, hq = photo, self.manifest.hq(row)
                    hq.flags.writeable = False
                yield Pair(row, hq, lq(self.manifest, row))
