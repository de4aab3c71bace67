"""Tiles of an image and their latents: where they lie, cutting, blending.

Positions are multiples of the VAE's factor, so that a tile of the image and its tile of latents
cover the same ground.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..tiling import starts, weights


@dataclass(frozen=True)
class Plan:
    """Tiles over latents of height x width.

    Attributes:
        height, width: of the latents.
        tile, overlap: of a tile, in latents; a tile that is larger than a side covers it all.
        factor: image pixels per latent.
    """

    height: int
    width: int
    tile: int
    overlap: int
    factor: int

    @cached_property
    def boxes(self) -> list[tuple[int, int, int, int]]:
        """Top, left, height, width of every tile, in latents."""
        tall, wide = min(self.height, self.tile), min(self.width, self.tile)
        return [(top, left, tall, wide) for top in self._starts[0] for left in self._starts[1]]

    @cached_property
    def _starts(self) -> tuple[list[int], list[int]]:
        return (
            starts(self.height, self.tile, self.overlap),
            starts(self.width, self.tile, self.overlap),
        )

    def cut(self, image: Tensor, scale: int = 1) -> Tensor:
        """Tiles (n, C, h, w) of (1, C, height, width) latents, or image with ``scale = factor``."""
        return torch.cat([image[_at(box, scale)] for box in self.boxes])

    def blend(self, pieces: Iterable[Tensor], scale: int = 1) -> Tensor:
        """(1, C, height, width) from tiles (any batches of them, in order), weights adding to 1.

        One tile comes back exactly as it is.
        """
        windows = self._windows(scale)
        result: Tensor | None = None
        index = 0
        for batch in pieces:
            for piece in batch[:, None]:
                if len(self.boxes) == 1:
                    return piece
                if result is None:
                    size = (self.height * scale, self.width * scale)
                    result = piece.new_zeros(1, piece.shape[1], *size)
                window = torch.from_numpy(windows[index]).to(piece)
                result[_at(self.boxes[index], scale)] += piece * window
                index += 1
        assert result is not None
        return result

    def _windows(self, scale: int) -> list[NDArray[np.float32]]:
        # Pixels' positions from the latents': computed for pixels they would be rounded elsewhere.
        down, across = (
            weights(side * scale, [scale * one for one in begins], length * scale, overlap)
            for side, begins, length, overlap in (
                (self.height, self._starts[0], min(self.height, self.tile), self.overlap * scale),
                (self.width, self._starts[1], min(self.width, self.tile), self.overlap * scale),
            )
        )
        return [row[:, None] * column for row in down for column in across]


def _at(box: tuple[int, int, int, int], scale: int) -> tuple[slice, ...]:
    top, left, height, width = (value * scale for value in box)
    return (slice(None), slice(None), slice(top, top + height), slice(left, left + width))
