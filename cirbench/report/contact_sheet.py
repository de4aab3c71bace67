"""The contact sheet a build ends with: HQ beside every task's LQ, cropped to where it shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from PIL import Image, ImageDraw, ImageFont

from .. import codecs
from ..builder import store
from ..codecs import RGB
from ..manifest import Manifest

FILE_NAME = "contact_sheet.png"
_CROP, _SCALE, _GAP, _TEXT = 96, 2, 8, 34
_CELL = _CROP * _SCALE
_INK, _FAINT, _PAPER = (30, 30, 30), (110, 110, 110), (255, 255, 255)


def write(folder: Path, photos: int = 3) -> Path | None:
    """Draw ``contact_sheet.png`` into a data set's folder.

    One block per photo (test photos first): a row per codec, HQ on the left, its levels from
    worst to best, every crop 96x96 pixels shown at twice its size with task, bpp and PSNR.

    Returns the file's path, or None when the data set has no usable row.
    """
    manifest = Manifest.open(folder).usable
    chosen = _photos(manifest, photos)
    blocks = [_block(manifest, rows) for rows in chosen]
    if not blocks:
        return None
    width = max(block.width for block in blocks)
    sheet = Image.new("RGB", (width, sum(block.height for block in blocks)), _PAPER)
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    with store.lock(folder):
        store.write(folder, FILE_NAME, store.encode_png(np.asarray(sheet)))
    return folder / FILE_NAME


def _photos(manifest: Manifest, count: int) -> list[list[dict[str, Any]]]:
    """Rows of the photos to show: those with most tasks, test photos first, then by name."""
    keys = ["hq_root", "hq_path", "split"]
    groups = manifest.table.group_by(keys).aggregate([("row_id", "count")]).to_pylist()
    groups.sort(
        key=lambda g: (-g["row_id_count"], g["split"] != "test", g["hq_root"], g["hq_path"])
    )
    photos = []
    for group in groups[:count]:
        table = manifest.table
        for key in keys:
            table = table.filter(pc.equal(table[key], group[key]))
        photos.append(table.to_pylist())
    return photos


def _block(manifest: Manifest, rows: Sequence[dict[str, Any]]) -> Image.Image:
    hq = manifest.hq(rows[0])
    top, left = _busiest(hq)
    crop = (slice(top, top + _CROP), slice(left, left + _CROP))
    lines = [
        sorted(
            (row for row in rows if row["codec"] == name),
            key=lambda r: _quality(r),
        )
        for name in codecs.names()
    ]
    lines = [line for line in lines if line]
    columns = 1 + max(len(line) for line in lines)
    size = (
        _GAP + columns * (_CELL + _GAP),
        _TEXT + len(lines) * (_CELL + _TEXT + _GAP),
    )
    block = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(block)
    title = f"{rows[0]['set']} / {rows[0]['hq_path']}   {rows[0]['width']} x {rows[0]['height']}"
    draw.text((_GAP, _GAP), title, _INK, _font(18))
    for number, line in enumerate(lines):
        y = _TEXT + number * (_CELL + _TEXT + _GAP)
        _cell(block, draw, 0, y, hq[crop], "HQ", codecs.get(line[0]["codec"]).title)
        for column, row in enumerate(line, 1):
            name = " ".join((row["task"], row["variant"])).strip()
            caption = f"{row['bpp']:.3f} bpp  {row['psnr_rgb']:.2f} dB"
            _cell(block, draw, column, y, manifest.lq(row)[crop], name, caption)
    return block


def _quality(row: dict[str, Any]) -> tuple[str, float]:
    """Sorts a codec's rows from strongest to weakest artefacts."""
    return row["variant"], row["bpp"]


def _cell(
    block: Image.Image, draw: ImageDraw.ImageDraw, column: int, y: int, rgb: RGB, *captions: str
) -> None:
    x = _GAP + column * (_CELL + _GAP)
    picture = Image.fromarray(np.ascontiguousarray(rgb))
    enlarged = picture.resize(
        (picture.width * _SCALE, picture.height * _SCALE), Image.Resampling.NEAREST
    )
    block.paste(enlarged, (x, y))
    for line, (text, ink) in enumerate(zip(captions, (_INK, _FAINT), strict=True)):
        draw.text((x, y + _CELL + 1 + 15 * line), text, ink, _font(13))


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _busiest(rgb: RGB) -> tuple[int, int]:
    """(top, left) of the crop with the most edges: where artefacts show."""
    grey = rgb.astype(np.float32).mean(axis=2)
    edges = np.zeros_like(grey)
    edges[1:] += np.abs(np.diff(grey, axis=0))
    edges[:, 1:] += np.abs(np.diff(grey, axis=1))
    sums = np.pad(edges, ((1, 0), (1, 0))).cumsum(0, dtype=np.float64).cumsum(1)
    high, wide = (min(_CROP, side) for side in grey.shape)
    energy = sums[high:, wide:] - sums[:-high, wide:] - sums[high:, :-wide] + sums[:-high, :-wide]
    top, left = np.unravel_index(energy.argmax(), energy.shape)
    return int(top), int(left)
