"""The contact sheet a build ends with: HQ beside every task's LQ, cropped to where it shows."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from ..builder import store
from ..codecs import RGB
from ..manifest import Manifest
from ..schema import ARROW_SCHEMA
from ..tiles import Box
from . import drawing

FILE_NAME = "contact_sheet.png"
_CROP, _SCALE = 96, 2
_COLUMNS = 8
_PENDING = 200_000  # rows to count before they are counted
_SHAPE = drawing.Format(_CROP * _SCALE, _CROP * _SCALE, caption=13, title=18)


def write(folder: Path, photos: int = 3) -> Path | None:
    """Draw ``contact_sheet.png`` into a data set's folder.

    One block per photo (test photos first): a row per codec, HQ on the left, its levels from
    worst to best (eight at most), every crop 96x96 pixels shown at twice its size with task, bpp
    and PSNR.

    Returns the file's path, or None when the data set has no usable row.
    """
    manifest = Manifest.open(folder).usable
    chosen = _photos(manifest, photos)
    blocks = [_block(manifest, rows) for rows in chosen]
    if not blocks:
        return None
    width = max(block.width for block in blocks)
    sheet = Image.new("RGB", (width, sum(block.height for block in blocks)), drawing.PAPER)
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    with store.lock(folder):
        store.write(folder, FILE_NAME, store.encode_png(np.asarray(sheet)))
    return folder / FILE_NAME


def _photos(manifest: Manifest, count: int) -> list[list[dict[str, Any]]]:
    """Rows of the photos to show: those with most tasks, test photos first, then by name.

    A photo that was coded whole is shown whole, one that was only cut by its middle tile.
    """
    keys = ["hq_root", "hq_path", "split", "tile"]
    groups = _counted(manifest, keys).sort_by([(key, "ascending") for key in keys])
    listed = (group for batch in groups.to_batches(4096) for group in batch.to_pylist())
    photos = groupby(listed, key=itemgetter("hq_root", "hq_path"))
    best = heapq.nsmallest(
        count,
        (_middle([*tiles]) for _, tiles in photos),
        key=lambda g: (-g["rows"], g["split"] != "test", g["hq_root"], g["hq_path"]),
    )
    shown = ({key: group[key] for key in keys} for group in best)
    return [list(manifest.filter(**group)) for group in shown]


def _counted(manifest: Manifest, keys: list[str]) -> pa.Table:
    """Every combination of values in ``keys``, and in ``rows`` how many rows have it."""
    counted = pa.schema([*(ARROW_SCHEMA.field(key) for key in keys), ("rows", pa.int64())])
    found = counted.empty_table()
    fresh: list[pa.Table] = []
    for table in manifest.tables(keys):
        fresh.append(table.append_column("rows", pa.array(np.ones(len(table), np.int64))))
        if sum(map(len, fresh)) > max(len(found), _PENDING):
            found, fresh = _merged([found, *fresh], keys), []
    return _merged([found, *fresh], keys)


def _merged(tables: list[pa.Table], keys: list[str]) -> pa.Table:
    grouped = pa.concat_tables(tables).group_by(keys).aggregate([("rows", "sum")])
    return grouped.select([*keys, "rows_sum"]).rename_columns([*keys, "rows"])


def _middle(groups: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The whole photo if it is there, else the middle one of the tiles with most tasks."""
    whole = [group for group in groups if group["tile"] is None]
    if whole:
        return whole[0]
    most = max(group["rows"] for group in groups)
    fullest = [group for group in groups if group["rows"] == most]
    fullest.sort(key=lambda group: Box.parse(group["tile"]))
    return fullest[len(fullest) // 2]


def _block(manifest: Manifest, rows: list[dict[str, Any]]) -> Image.Image:
    hq = manifest.hq(rows[0])
    crop = drawing.busiest(hq, _CROP)

    def look(rgb: RGB) -> list[RGB]:
        return [drawing.enlarge(rgb[crop], _SCALE)]

    return drawing.block(manifest, _spread(rows), _SHAPE, look, look(hq))


def _spread(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most _COLUMNS rows of each codec, evenly spread from its smallest to its largest."""
    kept = []
    for codec in dict.fromkeys(row["codec"] for row in rows):
        mine = sorted((row for row in rows if row["codec"] == codec), key=lambda row: row["bpp"])
        places = np.linspace(0, len(mine) - 1, min(len(mine), _COLUMNS)).round().astype(int)
        kept += [mine[place] for place in places]
    return kept
