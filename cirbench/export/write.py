"""``cirbench export``: publish a data set as folders, tar shards, for Hugging Face or Croissant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from .. import manifest, parquet
from ..builder import store
from ..errors import CirbenchError
from ..manifest import Manifest
from ..schema import TIMINGS_SCHEMA
from . import card, croissant, folders, hf, layout, rights, usage, webdataset
from .target import Target, fresh

FORMATS = ("folders", "webdataset", "hf", "croissant", "card")
CONTENTS = ("png", "bitstream")


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        out: the folder.
        rows: LQ images.
        sizes: (files, bytes) by kind: ``hq``, ``lq``, ``shards``, ``metadata``.
    """

    out: Path
    rows: int
    sizes: dict[str, tuple[int, int]]


def export(
    folder: str | Path,
    file_format: str,
    out: str | Path,
    *,
    content: str = "png",
    shard_size: int = 10**9,
    split: str | None = None,
    hq: bool = True,
    url: str = "",
    jobs: int | None = None,
    hq_roots: Mapping[str, str | Path] | None = None,
) -> Exported:
    """Write a data set in a form that other tools read; the Python face of ``cirbench export``.

    >>> export("data/cir", "hf", "published", split="test")

    Every file is compared with the manifest's hashes on its way. ``out`` appears when it is
    complete; the same data set gives the same bytes.

    Args:
        folder: a data set.
        file_format: one of :data:`FORMATS`.
        out: a missing or empty folder, or an earlier export, which is replaced.
        content: LQ images as ``png``, or (for ``webdataset``) as ``bitstream``.
        shard_size: most bytes of one tar shard.
        split: only ``train`` or ``test``.
        hq: False leaves the HQ images out.
        url: the data set's page, for Croissant.
        jobs: files read at a time; None is one per core.
        hq_roots: folders of HQ roots, overriding ``roots.toml``.

    Raises CirbenchError for a folder that is something else, rows that are not there, a file that
    is not what the manifest says, or a full disk.
    """
    if file_format not in FORMATS or content not in CONTENTS:
        raise CirbenchError(
            f"there is no export of {content} as {file_format}; formats are {', '.join(FORMATS)}"
        )
    if content == "bitstream" and file_format not in ("webdataset", "card"):
        raise CirbenchError(
            f"{file_format} holds PNGs; bitstreams go into tar shards: --format webdataset"
        )
    opened = Manifest.open(folder, hq_roots)
    whole = opened if split is None else opened.filter(split=split)
    data = whole.usable
    if not len(data):
        wanted = f"rows of split {split!r}" if split else "usable rows"
        raise CirbenchError(f"{opened.folder} has no {wanted} to export")
    table = layout.ordered(data.table)
    with fresh(Path(out), replace=True) as target:
        shards: dict[str, int] = {}
        if file_format == "webdataset":
            shards = webdataset.write(data, table, target, content, hq, shard_size, jobs)
        elif file_format == "hf":
            hf.write(data, table, target, hq, jobs)
        elif file_format != "card":
            folders.write(data, table, target, hq, jobs)
        if file_format == "croissant":
            terms = list(dict.fromkeys(one.licence for one in rights.of(table)))
            croissant.write(target, table, card.name(data), terms, hq, url)
        if file_format in ("webdataset", "folders", "croissant"):
            _copy_manifest(opened, whole, target)
        sizes = {kind: (target.files[kind], target.bytes[kind]) for kind in target.files}
        header = hf.header(table, card.name(data)) if file_format == "hf" else ""
        use = usage.text(file_format, content, hq, table, shards)
        text = card.text(data, len(whole) - len(data), sizes, use)
        target.put(card.FILE_NAME, (header + text).encode())
        target.finish({"format": file_format, "content": content, "hq": hq, "split": split})
        sizes = {kind: (target.files[kind], target.bytes[kind]) for kind in target.files}
    return Exported(Path(out), len(data), sizes)


def _copy_manifest(opened: Manifest, whole: Manifest, target: Target) -> None:
    """The manifest, its timings and their checksums: as they are, or the exported rows of them."""
    if len(whole) == len(opened):
        for name in (manifest.FILE_NAME, manifest.TIMINGS_NAME, manifest.SUMS_NAME):
            if (opened.folder / name).is_file():
                target.copy(opened.folder / name, name)
        return
    tables = {manifest.FILE_NAME: whole.table}
    timings = manifest.timings(opened.folder)
    ids = whole.table["row_id"].to_pylist()
    kept = [timings[row_id] | {"row_id": row_id} for row_id in ids if row_id in timings]
    tables[manifest.TIMINGS_NAME] = pa.Table.from_pylist(kept, schema=TIMINGS_SCHEMA)
    sums = []
    for name, table in tables.items():
        content = parquet.content(table, write_page_checksum=True)
        target.put(name, content)
        sums.append(f"{store.sha256(content)}  {name}\n")
    target.put(manifest.SUMS_NAME, "".join(sums).encode())
