"""Run a function of fixed working size over an image of any size: overlapping tiles, blended."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .restorer import Batch


def starts(side: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along one axis of ``side`` pixels; the last one ends at the border.

    Neighbours share at least ``overlap`` pixels; one tile when the side fits.
    """
    if side <= tile:
        return [0]
    count = -(-(side - overlap) // (tile - overlap))
    return [round(index * (side - tile) / (count - 1)) for index in range(count)]


def weights(
    side: int, begins: Sequence[int], length: int, overlap: int, margin: int = 0
) -> list[NDArray[np.float32]]:
    """The weight of every tile at each of its pixels along one axis; they add up to 1 everywhere.

    Weights rise and fall linearly over the ``overlap`` and are 0 on the outer ``margin`` pixels,
    except at the image's own border.

    Args:
        side: pixels of the image.
        begins, length: where its tiles begin, and their pixels.
        overlap, margin: see :func:`tiled`.
    """
    ramp = np.clip((np.arange(length) + 0.5 - margin) / max(overlap - 2 * margin, 1), 0, 1)
    windows = []
    for begin in begins:
        window = np.ones(length)
        if begin > 0:
            window *= ramp
        if begin + length < side:
            window *= ramp[::-1]
        windows.append(window)
    total = np.zeros(side)
    for begin, window in zip(begins, windows, strict=True):
        total[begin : begin + length] += window
    return [
        (window / total[begin : begin + length]).astype(np.float32)
        for begin, window in zip(begins, windows, strict=True)
    ]


def tiled(
    run: Callable[[Batch], Batch],
    image: Batch,
    *,
    tile: int,
    overlap: int,
    margin: int = 0,
    multiple: int = 1,
) -> Batch:
    """Apply ``run`` to overlapping tiles of ``image`` and blend the results.

    With ``margin`` at least the reach of ``run``'s filters, the result is the one of the whole
    image (to rounding): no seams. Memory is one image beside the result, and one tile at a time.

    Args:
        run: float32 (B, 3, h, w) to the same shape; h, w at most ``tile`` rounded up to
            ``multiple``.
        image: float32 (B, 3, H, W); any H, W.
        tile: side of a tile in pixels; a multiple of ``multiple``.
        overlap: pixels that neighbours share at least.
        margin: outer pixels of a tile that are never used, at most half the overlap.
        multiple: what ``run`` needs its sides to be multiples of; smaller images are padded by
            reflection (by edge replication where they are too small for that) and cut back.

    Returns:
        float32 (B, 3, H, W).

    Raises ValueError when the numbers do not fit each other.
    """
    if not 0 <= 2 * margin <= overlap < tile or tile % multiple:
        raise ValueError(f"tile {tile}, overlap {overlap}, margin {margin}, multiple {multiple}")
    height, width = image.shape[2:]
    rows, columns = (_axis(side, tile, overlap, margin) for side in (height, width))
    result = np.zeros(image.shape, np.float32)
    for top, down in rows:
        for left, across in columns:
            at = (..., slice(top, top + len(down)), slice(left, left + len(across)))
            piece = image[at]
            made = run(_padded(piece, multiple))[..., : piece.shape[2], : piece.shape[3]]
            result[at] += made * (down[:, None] * across)
    return result


def _axis(side: int, tile: int, overlap: int, margin: int) -> list[tuple[int, NDArray[np.float32]]]:
    begins = starts(side, tile, overlap)
    return list(zip(begins, weights(side, begins, min(side, tile), overlap, margin), strict=True))


def _padded(piece: Batch, multiple: int) -> Batch:
    """Sides up to multiples of ``multiple``."""
    grow = [-side % multiple for side in piece.shape[2:]]
    if not any(grow):
        return np.ascontiguousarray(piece)
    fits = all(more < side for more, side in zip(grow, piece.shape[2:], strict=True))
    widths = ((0, 0), (0, 0), (0, grow[0]), (0, grow[1]))
    return np.pad(piece, widths, mode="reflect" if fits else "edge")
