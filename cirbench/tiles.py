"""Where a photo is cut: tiles of one size that cover it, as the field's sub-image scripts do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .codecs import RGB
from .errors import CirbenchError, InputError


class Box(NamedTuple):
    """A tile of a photo in pixels: its left and top edge, its width and height."""

    x: int
    y: int
    width: int
    height: int

    def __str__(self) -> str:
        """The manifest's ``tile``: ``"x,y,width,height"``."""
        return ",".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> Box:
        """The box of a manifest's ``tile``. Raises CirbenchError for anything else."""
        try:
            box = cls(*map(int, text.split(",")))
        except (TypeError, ValueError):
            raise CirbenchError(f"{text!r} is no tile; one is x,y,width,height") from None
        if min(box) < 0 or not (box.width and box.height):
            raise CirbenchError(f"{text!r} is no tile: it has no pixels or begins outside")
        return box


class Tiling(NamedTuple):
    """How photos are cut: square tiles of ``side`` pixels, ``stride`` pixels apart."""

    side: int
    stride: int

    def boxes(self, width: int, height: int) -> Iterator[Box]:
        """The tiles of a photo of this size, row by row, from left to right.

        The last tile of a row or column is shifted inwards, so that the tiles cover the photo and
        all have the full size. A photo that is narrower or lower than a tile has tiles that are as
        narrow or as low; one that fits into a tile altogether is one tile.
        """
        for y in _starts(height, *self):
            for x in _starts(width, *self):
                yield Box(x, y, min(self.side, width), min(self.side, height))

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(number of tiles, pixels of all tiles together) of a photo of this size."""
        across, down = (len(_starts(length, *self)) for length in (width, height))
        each = min(self.side, width) * min(self.side, height)
        return across * down, across * down * each


def tiling(side: int | None, stride: int | None) -> Tiling | None:
    """The tiling that ``--tile`` and ``--stride`` ask for; None for whole photos.

    Raises CirbenchError for a stride without a tile, or one that leaves pixels out.
    """
    if side is None:
        if stride is not None:
            raise CirbenchError("--stride is the distance of tiles; give their size with --tile")
        return None
    if side < 1:
        raise CirbenchError(f"tile cannot be {side}; it is at least 1")
    if stride is not None and not 1 <= stride <= side:
        raise CirbenchError(
            f"stride cannot be {stride}; it is 1 to {side}: a larger one leaves out pixels between "
            "the tiles"
        )
    return Tiling(side, stride or side)


def _starts(length: int, side: int, stride: int) -> range | tuple[int, ...]:
    """Where tiles begin along one edge of a photo."""
    last = length - side
    if last <= 0:
        return (0,)
    regular = range(0, last + 1, stride)
    return regular if regular[-1] == last else (*regular, last)


def cut(rgb: RGB, box: Box, name: str) -> RGB:
    """A copy of the pixels of a tile, uint8 (box.height, box.width, 3).

    Raises InputError naming the photo when the tile is not inside it.
    """
    height, width = rgb.shape[:2]
    if box.x + box.width > width or box.y + box.height > height:
        raise InputError(f"{name} is {width}x{height}: the tile {box} is not inside it")
    return np.array(rgb[box.y : box.y + box.height, box.x : box.x + box.width])


def folder(set_name: str, side: int) -> str:
    """What a set's folder is called for tiles: ``df2k@512``. No set's own name has an "@"."""
    return f"{set_name}@{side}"


def suffix(box: Box) -> str:
    """What tells the files of a photo's tiles apart: ``_256_0`` for x = 256, y = 0."""
    return f"_{box.x}_{box.y}"
