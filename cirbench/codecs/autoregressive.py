"""Entropy coding of latents under a 5x5 autoregressive context model, without the wait.

The model is Minnen, Ballé and Toderici 2018 ("Joint Autoregressive and Hierarchical Priors",
arXiv:1809.02736) as CompressAI's Cheng2020 networks use it. Latent ``y[:, h, w]`` is coded with
Gaussians whose scales and means come from a 5x5 masked convolution over what is already coded
(``y_hat`` in the two rows above, and two positions to the left) and from the hyper-prior's
``params[:, h, w]``, through three 1x1 convolutions. Positions with equal ``w + 3 h`` cannot see
each other: the encoder computes each such front as one batch, then codes the symbols in raster
order. The decoder gets symbols from the bitstream in raster order and works position by position.
Both get the same bits from :mod:`.context`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .context import KERNEL, MAX_BATCH, REACH, TAPS, Context


def encode(context: Context, y: Tensor, params: Tensor) -> tuple[bytes, Tensor]:
    """Code a latent.

    Args:
        context: from :func:`.context.prepare`.
        y: float32 (1, M, H, W), the analysis transform's output, not rounded; W >= 4.
        params: float32 (1, 2M, H, W), the hyper-synthesis transform's output.

    Returns:
        The rANS string (the bytes of CompressAI's ``compress()``) and y_hat (1, M, H, W), which
        :func:`decode` gets back from it.
    """
    from compressai.ans import BufferedRansEncoder

    _, channels, height, width = y.shape
    latent = y[0].permute(1, 2, 0).contiguous()
    hyper = params[0].permute(1, 2, 0).contiguous()
    scales = torch.empty_like(latent)
    symbols = torch.empty_like(latent)
    known = _canvas(channels, height, width)
    inner = known[REACH:, REACH : REACH + width]
    for top, left, count in _fronts(height, width):
        taps = _taps(known, top, left, count)
        scale, mean = context.gaussian(taps, _front(hyper, top, left, count))
        symbol = torch.round(_front(latent, top, left, count) - mean)
        _front(inner, top, left, count).copy_(symbol + mean)
        _front(symbols, top, left, count).copy_(symbol)
        _front(scales, top, left, count).copy_(scale)
    coder = BufferedRansEncoder()
    coder.encode_with_indexes(
        symbols.int().flatten().tolist(),
        context.indexes(scales).flatten().tolist(),
        context.tables,
        context.lengths,
        context.offsets,
    )
    return coder.flush(), inner.permute(2, 0, 1)[None].contiguous()


def decode(context: Context, string: bytes, params: Tensor) -> Tensor:
    """y_hat (1, M, H, W) of a string from :func:`encode` (or CompressAI's ``compress()``).

    ``params`` as in :func:`encode`. The rANS decoder does not check for the end of its input:
    the caller has to append zeros enough for a damaged string.
    """
    from compressai.ans import RansDecoder

    _, _, height, width = params.shape
    channels = context.channels
    hyper = params[0].permute(1, 2, 0).contiguous()
    known = _canvas(channels, height, width)
    inner = known[REACH:, REACH : REACH + width]
    coder = RansDecoder()
    coder.set_stream(string)
    tables, lengths, offsets = context.tables, context.lengths, context.offsets
    for top in range(height):
        for left in range(width):
            taps = _taps(known, top, left, 1)
            scale, mean = context.gaussian(taps, hyper[top, left][None])
            indexes = context.indexes(scale[0]).tolist()
            # The coder copies every table it is given: give it this position's only.
            used = sorted(set(indexes))
            place = {index: number for number, index in enumerate(used)}
            symbols = coder.decode_stream(
                [place[index] for index in indexes],
                [tables[index] for index in used],
                [lengths[index] for index in used],
                [offsets[index] for index in used],
            )
            symbol = torch.from_numpy(np.array(symbols, np.float32))
            torch.add(symbol, mean[0], out=inner[top, left])
    return inner.permute(2, 0, 1)[None].contiguous()


def _canvas(channels: int, height: int, width: int) -> Tensor:
    """An all-zero y_hat (H + 2, W + 4, M) with the border the context looks at."""
    return torch.zeros(height + REACH, width + 2 * REACH, channels)


def _fronts(height: int, width: int) -> Iterator[tuple[int, int, int]]:
    """Runs (top, left, count) of independent positions: (top + i, left - 3 i) for i < count."""
    step = REACH + 1
    for time in range(width + step * (height - 1)):
        first = max(0, -(-(time - width + 1) // step))
        last = min(height - 1, time // step)
        for top in range(first, last + 1, MAX_BATCH):
            yield top, time - step * top, min(MAX_BATCH, last + 1 - top)


def _front(plane: Tensor, top: int, left: int, count: int) -> Tensor:
    """View (count, C) of ``plane`` (H, W, C) along a front: one row down, three to the left."""
    down, right, one = plane.stride()
    start = plane.storage_offset() + top * down + left * right
    return plane.as_strided((count, plane.shape[2]), (down - (REACH + 1) * right, one), start)


def _taps(known: Tensor, top: int, left: int, count: int) -> Tensor:
    """What the positions of a front can see: (1, M, 12, count), in reading order."""
    down, right, one = known.stride()
    channels = known.shape[2]
    window = known.as_strided(
        (channels, REACH + 1, KERNEL, count),
        (one, down, right, down - (REACH + 1) * right),
        top * down + left * right,
    )
    taps = known.new_empty(1, channels, TAPS, count)
    above = REACH * KERNEL
    taps[0, :, :above].view(channels, REACH, KERNEL, count).copy_(window[:, :REACH])
    taps[0, :, above:].copy_(window[:, REACH, :REACH])
    return taps
