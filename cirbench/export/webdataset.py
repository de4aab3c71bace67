"""Tar shards for WebDataset: a sample is one HQ image with the LQs of all its tasks.

So an HQ image is stored once, not once per task. Equal rows give equal bytes: members have no
time, owner or order of their own.
"""

from __future__ import annotations

import io
import json
import math
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import groupby
from typing import Any

import pyarrow as pa

from .. import codecs
from ..manifest import Manifest
from . import layout, stream
from .target import Target

_BLOCK, _RECORD = tarfile.BLOCKSIZE, tarfile.RECORDSIZE
Members = dict[str, bytes]


def member(row: Mapping[str, Any], kind: str) -> str:
    """What follows the sample's key in a member's name, as WebDataset's loaders name the field.

    ``hq.png``; ``jpeg-qf10.png`` (pixels) or ``jpeg-qf10.jpg`` (bitstream). Lower case, as the
    loaders make it.
    """
    if kind == "hq":
        return "hq.png"
    ending = "png" if kind == "lq" else codecs.get(row["codec"]).extension
    return f"{layout.task_name(row)}.{ending}".lower()


def write(
    data: Manifest,
    table: pa.Table,
    target: Target,
    content: str,
    hq: bool,
    shard_size: int,
    jobs: int | None,
) -> dict[str, int]:
    """Write ``<split>-000000.tar``, ``<split>-000001.tar``, ...; return their number by split.

    Args:
        data, table: the data set and its rows to export, in :data:`layout.ORDER`.
        target: where to.
        content: ``png`` or ``bitstream``.
        hq: with the HQ images.
        shard_size: most bytes of a shard; a single sample that is larger gets its own.
        jobs: files read at a time.
    """
    names = layout.image_names(table)
    payloads = stream.payloads(data, table, content, hq, jobs)
    shards: dict[str, int] = {}
    for split, of_split in groupby(payloads, lambda pair: layout.split_name(pair[0].row)):
        samples = (
            (names[key], _sample(group))
            for key, group in groupby(of_split, lambda pair: layout.image_key(pair[0].row))
        )
        shards[split] = _write_split(samples, target, split, shard_size)
    return shards


def _sample(group: Iterator[tuple[stream.Item, bytes]]) -> Members:
    """One sample's members: its files, and ``json`` with the rows and which file is whose."""
    files: Members = {}
    entries: dict[str, dict[str, Any]] = {}
    for item, payload in group:
        name = member(item.row, item.kind)
        files[name] = payload
        if item.kind != "hq":
            entry = entries.setdefault(item.row["row_id"], _plain(item.row))
            entry["lq_file" if item.kind == "lq" else "bitstream_file"] = name
    text = json.dumps(
        {"rows": [*entries.values()]}, ensure_ascii=False, sort_keys=True, allow_nan=False
    )
    return files | {"json": text.encode()}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON takes it: null for an infinite PSNR (LQ equal to HQ)."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


def _write_split(
    samples: Iterator[tuple[str, Members]], target: Target, split: str, shard_size: int
) -> int:
    number = 0
    size = 0
    with ExitStack() as stack:
        shard: tarfile.TarFile | None = None
        for key, members in samples:
            cost = sum(_cost(f"{key}.{name}", data) for name, data in members.items())
            if shard is None or size + cost > shard_size - 2 * _BLOCK - _RECORD:
                stack.close()
                file = stack.enter_context(target.create(f"{split}-{number:06d}.tar", "shards"))
                # "w|" only ever appends, so the bytes can be hashed on their way.
                shard = stack.enter_context(
                    tarfile.open(mode="w|", fileobj=file, format=tarfile.PAX_FORMAT)  # type: ignore[call-overload]
                )
                number, size = number + 1, 0
            for name, data in members.items():
                shard.addfile(_info(f"{key}.{name}", data), io.BytesIO(data))
            size += cost
    return number


def _info(name: str, data: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)  # mtime, uid and gid are 0, the mode is 0o644, no owner names
    info.size = len(data)
    return info


def _cost(name: str, data: bytes) -> int:
    """Bytes a member takes: its header(s) and its data in whole blocks."""
    headers = len(_info(name, data).tobuf(tarfile.PAX_FORMAT))
    return headers + -(-len(data) // _BLOCK) * _BLOCK
