"""From manifest rows to the bytes an export holds: checked, in order, a few at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import joblib
import pyarrow as pa
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from .. import codecs
from ..builder import store
from ..errors import InputError
from ..manifest import Manifest
from . import layout

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class Item:
    """One file of an export: the ``hq``, ``lq`` (both PNG) or ``bitstream`` of a row."""

    row: Mapping[str, Any]
    kind: str


def has_png(row: Mapping[str, Any], content: str) -> bool:
    """Whether the LQ pixels of a row are exported.

    With ``bitstream`` content, only stored ones of slow decoders are: learned streams are promised
    to decode on the device that made them, pixels everywhere.
    """
    slow = codecs.get(row["codec"]).decode_cost == "slow"
    return content == "png" or (slow and bool(row["lq_path"]))


def items(table: pa.Table, content: str, hq: bool) -> Iterator[Item]:
    """Every file to export, for rows in :data:`layout.ORDER`: each image's HQ, then its LQs."""
    last = None
    for row in layout.rows(table):
        if hq and layout.image_key(row) != last:
            last = layout.image_key(row)
            yield Item(row, "hq")
        if content == "bitstream":
            yield Item(row, "bitstream")
        if has_png(row, content):
            yield Item(row, "lq")


def count(table: pa.Table, content: str, hq: bool) -> int:
    """How many items there will be."""
    images = table.group_by(["set", "hq_path", "tile"]).aggregate([]).num_rows if hq else 0
    if content == "png":
        return images + int(table.num_rows)
    kinds = table.select(["codec", "lq_path"])
    return images + sum(1 + has_png(row, content) for row in layout.rows(kinds))


def read(data: Manifest, item: Item) -> bytes:
    """The bytes of an item, compared with the manifest's hashes.

    Raises InputError when a file is missing or is not what its row says.
    """
    row = item.row
    if item.kind == "bitstream":
        coded = data.bitstream(row)
        if store.sha256(coded) != row["bitstream_sha256"]:
            raise InputError(f"{row['bitstream_path']} has changed (sha256 differs); run verify")
        return coded
    if item.kind == "hq":
        return store.encode_png(data.hq(row))  # which compares its hash
    rgb = data.lq(row)
    if store.pixel_sha256(rgb) != row["lq_sha256"]:
        raise InputError(f"{row['lq_path']} has other pixels than recorded; run cirbench verify")
    return store.encode_png(rgb)


def payloads(
    data: Manifest, table: pa.Table, content: str, hq: bool, jobs: int | None
) -> Iterator[tuple[Item, bytes]]:
    """Every item with its bytes, in order, with a progress bar; ``jobs`` are made at a time."""
    bar = tqdm(total=count(table, content, hq), desc="export", disable=None)
    with bar:
        todo = items(table, content, hq)
        for item, content_bytes in ordered(lambda item: read(data, item), todo, jobs):
            yield item, content_bytes
            bar.update()


def ordered(
    function: Callable[[In], Out], todo: Iterable[In], jobs: int | None
) -> Iterator[tuple[In, Out]]:
    """``(x, function(x))`` in the order of ``todo``, from ``jobs`` threads (None: one per core).

    At most ``2 * jobs`` results wait: memory stays bounded however slow the consumer is.
    """
    jobs = jobs or int(joblib.cpu_count())
    pool = ThreadPoolExecutor(jobs)
    window: deque[tuple[In, Future[Out]]] = deque()
    try:
        with threadpool_limits(1):
            for one in todo:
                window.append((one, pool.submit(function, one)))
                if len(window) >= 2 * jobs:
                    first, future = window.popleft()
                    yield first, future.result()
            while window:
                first, future = window.popleft()
                yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
