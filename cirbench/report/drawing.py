"""Pictures of one photo's tasks on paper: what the contact sheet and the strip share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .. import codecs
from ..codecs import RGB
from ..errors import CirbenchError
from ..manifest import Manifest
from ..tiles import Box

INK, FAINT, PAPER = (30, 30, 30), (110, 110, 110), (255, 255, 255)
GAP = 8

Look = Callable[[RGB], Sequence[RGB]]
"""What is shown of an image (uint8 (H, W, 3)): pictures to stack, ready to paste."""


@dataclass(frozen=True)
class Format:
    """Sizes in pixels: the room for pictures in a cell, the two fonts, the gap under a line."""

    width: int
    height: int
    caption: int
    title: int
    below: int = GAP


@dataclass(frozen=True)
class _Cell:
    pictures: Sequence[RGB]
    captions: tuple[str, str]


def block(
    manifest: Manifest, rows: Sequence[dict[str, Any]], shape: Format, look: Look, hq: Sequence[RGB]
) -> Image.Image:
    """One photo: a line per codec, HQ on the left, then its levels from worst to best.

    Args:
        manifest: where LQ pixels are read.
        rows: manifest rows of one photo, or of one tile.
        shape: sizes.
        look: what is shown of each LQ.
        hq: what is shown of the HQ.
    """
    lines = []
    for codec in map(codecs.get, codecs.names()):
        chosen = sorted((row for row in rows if row["codec"] == codec.name), key=_quality)
        if chosen:
            cells = [_Cell(hq, ("HQ", codec.title))]
            cells += [_Cell(look(manifest.lq(row)), _captions(row)) for row in chosen]
            lines.append(cells)
    first = rows[0]
    at = f"   {first['width']} x {first['height']}"
    if first["tile"]:
        at += " at {0.x}, {0.y}".format(Box.parse(first["tile"]))
    title = f"{first['set']} / {first['hq_path']}{at}"
    return _draw(title, lines, shape)


def _captions(row: dict[str, Any]) -> tuple[str, str]:
    name = " ".join((row["task"], row["variant"])).strip()
    return name, f"{row['bpp']:.3f} bpp  {row['psnr_rgb']:.2f} dB"


def _quality(row: dict[str, Any]) -> tuple[str, float]:
    """Sorts a codec's rows from strongest to weakest artefacts."""
    return row["variant"], row["bpp"]


def _draw(title: str, lines: Sequence[Sequence[_Cell]], shape: Format) -> Image.Image:
    top, leading = shape.title + 2 * GAP, shape.caption + 2
    across, down = shape.width + GAP, shape.height + 2 * leading + 4 + shape.below
    size = (GAP + max(map(len, lines)) * across, top + len(lines) * down)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), title, INK, _font(shape.title))
    for number, line in enumerate(lines):
        for column, cell in enumerate(line):
            x, y = GAP + column * across, top + number * down
            under = y + shape.height + 1
            for picture in cell.pictures:
                sheet.paste(Image.fromarray(np.ascontiguousarray(picture)), (x, y))
                y += picture.shape[0] + GAP
            for text, ink in zip(cell.captions, (INK, FAINT), strict=True):
                draw.text((x, under), text, ink, _fitting(text, shape))
                under += leading
    return sheet


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _fitting(text: str, shape: Format) -> Any:
    """The caption's font, smaller for a text that would run into the next cell."""
    size = shape.caption
    while size > 6 and _font(size).getlength(text) > shape.width:
        size -= 1
    return _font(size)


def enlarge(rgb: RGB, scale: int) -> RGB:
    """Every pixel as a square of ``scale`` x ``scale``: artefacts stay as they are."""
    return rgb.repeat(scale, 0).repeat(scale, 1)


def busiest(rgb: RGB, side: int) -> tuple[slice, slice]:
    """(rows, columns) of the ``side`` x ``side`` crop with the most edges: where artefacts show."""
    grey = rgb.astype(np.float32).mean(axis=2)
    edges = np.zeros_like(grey)
    edges[1:] += np.abs(np.diff(grey, axis=0))
    edges[:, 1:] += np.abs(np.diff(grey, axis=1))
    sums = np.pad(edges, ((1, 0), (1, 0))).cumsum(0, dtype=np.float64).cumsum(1)
    high, wide = (min(side, length) for length in grey.shape)
    energy = sums[high:, wide:] - sums[:-high, wide:] - sums[high:, :-wide] + sums[:-high, :-wide]
    top, left = map(int, np.unravel_index(energy.argmax(), energy.shape))
    return slice(top, top + high), slice(left, left + wide)


def save(path: Path, data: bytes) -> Path:
    """Write a picture's file, making its folder. Raises CirbenchError when that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise CirbenchError(
            f"cannot write {path} ({error.strerror}); choose another place with --out"
        ) from error
    return path
