"""What images and tasks are called in an export: short, flat, and the same on every machine."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from ..builder import store
from ..builder.plan import digest

ORDER = ("split", "set", "hq_path", "tile", "task", "row_id")
"""Rows are exported in this order: all of one image together, so that its HQ is read once."""

_LONGEST = 150  # bytes; leaves room for a digest, a task and an ending in the usual 255

Key = tuple[str, str, str]


def image_key(row: Mapping[str, Any]) -> Key:
    """What tells one HQ image (a photo, or a tile of one) from all others of a data set."""
    return row["set"], row["hq_path"], row["tile"] or ""


def task_name(row: Mapping[str, Any]) -> str:
    """Task and variant as one file-name part: ``jpeg-qf10``, ``vvc-qp37+preset=fast``."""
    return store.folder(row["codec"], row["level"], row["variant"]).replace("/", "-")


def split_name(row: Mapping[str, Any]) -> str:
    """``train``, ``test``, or ``all`` for images without a split."""
    return row["split"] or "all"


def ordered(table: pa.Table) -> pa.Table:
    """The rows in :data:`ORDER`."""
    return table.sort_by([(name, "ascending") for name in ORDER])


def rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """A table's rows as dictionaries, a few thousand in memory at a time."""
    for batch in table.to_batches(max_chunksize=4096):
        yield from batch.to_pylist()


def image_names(table: pa.Table) -> dict[Key, str]:
    """A name for each image: unique (also where case is ignored), without folders, dots or spaces.

    It is the stem of the photo's path; the set comes first when there are several sets, and a
    digest last where two images would share a name. The rows alone decide, not their order.
    """
    columns = table.select(["set", "hq_path", "tile"]).group_by(["set", "hq_path", "tile"])
    keys = sorted({image_key(row) for row in rows(columns.aggregate([]))})
    several = len({key[0] for key in keys}) > 1
    names = {key: _name(key, several) for key in keys}
    often = Counter(name.casefold() for name in names.values())
    return {
        key: name if often[name.casefold()] == 1 else f"{name}-{digest(*key)[:8]}"
        for key, name in names.items()
    }


def _name(key: Key, with_set: bool) -> str:
    set_name, path, tile = key
    head, dot, _ = path.rpartition(".")
    parts = [set_name] * with_set + [head if dot else path] + [tile] * bool(tile)
    text = unicodedata.normalize("NFC", "_".join(parts))
    plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in text)
    if len(plain.encode()) <= _LONGEST:
        return plain
    return plain.encode()[:_LONGEST].decode(errors="ignore") + f"-{digest(*key)[:8]}"
