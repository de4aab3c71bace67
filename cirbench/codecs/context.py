"""A 5x5 autoregressive context model with CompressAI's bits at the speed of matrix products.

Encoder, decoder and CompressAI's ``compress()``/``decompress()`` must agree on every scale's table
index and on every rounding of ``y - mean``; one disagreement, and the rest of a bitstream decodes
to noise. Float sums in another order are enough for that: ordinary batched 1x1 convolutions change
5 of LIVE1's 29 streams (N = 128). So the arithmetic here has the *bits* of CompressAI's
one-position-at-a-time convolutions, at any batch size:

* its masked 5x5 convolution is a oneDNN direct convolution: one sum over blocks of 16 channels,
  in each over the kernel's rows and columns, in each over the channels. A 12x1 kernel over a
  column of the 12 positions that are not masked is the same sum (the others add zeros), and B
  such columns side by side make a picture that oneDNN convolves at the speed of a matrix product;
* its 1x1 convolutions of one position are matrix-vector products, which a batched
  matrix-matrix product of one row each repeats bit for bit, if every row starts at a 64-byte
  boundary as a tensor of its own would (MKL sums an unaligned row in another order).

:func:`prepare` does not take this on trust: it compares both with the plain convolutions at every
batch size it will use, and where a machine disagrees it falls back to the plain ones, slower and
exact by construction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

REACH = 2
"""The context reaches two positions up, left and right."""

KERNEL = 2 * REACH + 1
TAPS = REACH * KERNEL + REACH
"""Positions in the context: two whole rows of the kernel, and the left of the middle one."""

MAX_BATCH = 32
"""Positions per batch: the sizes :func:`prepare` has checked; longer fronts are cut."""

_ALIGN = 16  # float32 values in the 64 bytes at which torch starts a tensor

Rows = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Context:
    """A model's context and entropy-parameter networks, made ready for coding on the CPU.

    Attributes:
        channels: M, the latent's channels.
        context: taps (1, M, 12, B) -> context features (B, 2M).
        parameters: hyper-prior and context features (B, 4M) -> scales and means (B, 2M).
        fast: the batched arithmetic has the plain one's bits here (else the plain one runs).
        boundaries: scales between two entries of the scale table, ascending.
        lowest: smallest scale in use.
        tables: per scale, its quantised cumulative distribution (16 bits).
        lengths: entries in each table.
        offsets: symbol of each table's first entry.
    """

    channels: int
    context: Rows
    parameters: Rows
    fast: bool
    boundaries: Tensor = field(repr=False)
    lowest: float
    tables: list[list[int]] = field(repr=False)
    lengths: list[int] = field(repr=False)
    offsets: list[int] = field(repr=False)

    def gaussian(self, taps: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Scales and means, each (B, M), of B positions.

        Args:
            taps: float32 (1, M, 12, B); y_hat at the 12 positions that each of them can see.
            params: float32 (B, 2M); the hyper-prior's features there.
        """
        both = self.parameters(torch.cat((params, self.context(taps)), dim=1))
        return both[:, : self.channels], both[:, self.channels :]

    def indexes(self, scales: Tensor) -> Tensor:
        """Table index of each scale: how many boundaries lie below it."""
        return torch.bucketize(scales.clamp_min(self.lowest), self.boundaries)


def prepare(model: Any) -> Context:
    """The coding context of a CompressAI joint-autoregressive model.

    Call it, and code, on one torch thread: these convolutions are too small for two, which give
    the same bits. ``model`` must be on the CPU, in float32, with its entropy tables made.
    """
    conv = model.context_prediction
    weight = (conv.weight * conv.mask).detach()
    bias: Tensor = conv.bias.detach()
    layers = [
        (layer.weight.detach(), cast(Tensor, layer.bias).detach())
        for layer in model.entropy_parameters
        if isinstance(layer, torch.nn.Conv2d)
    ]
    channels = int(model.M)

    def plain_context(taps: Tensor) -> Tensor:
        crops = F.pad(taps[0].permute(2, 0, 1), (0, KERNEL * KERNEL - TAPS))
        crops = crops.reshape(-1, 1, channels, KERNEL, KERNEL)
        return torch.cat([F.conv2d(crop.clone(), weight, bias) for crop in crops]).flatten(1)

    def plain_parameters(rows: Tensor) -> Tensor:
        return torch.cat([_one_by_one(row.clone(), layers) for row in rows])

    taps = (1, channels, TAPS, MAX_BATCH)
    context = _exact(_packed_context(weight, bias), plain_context, taps, 3)
    rows = (MAX_BATCH, 4 * channels)
    parameters = _exact(_row_products(layers), plain_parameters, rows, 0)
    gaussian = model.gaussian_conditional
    lengths = gaussian.cdf_length.tolist()
    return Context(
        channels=channels,
        context=context or plain_context,
        parameters=parameters or plain_parameters,
        fast=context is not None and parameters is not None,
        boundaries=gaussian.scale_table[:-1].contiguous(),
        lowest=float(gaussian.lower_bound_scale.bound),
        # Cut to their lengths: the coder copies every list it is given.
        tables=[
            row[:length]
            for row, length in zip(gaussian.quantized_cdf.tolist(), lengths, strict=True)
        ],
        lengths=lengths,
        offsets=gaussian.offset.tolist(),
    )


def _one_by_one(row: Tensor, layers: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Scales and means (1, 2M) of one position, with CompressAI's own operations."""
    features = row.view(1, -1, 1, 1)
    for number, (weight, bias) in enumerate(layers):
        features = F.conv2d(F.leaky_relu(features) if number else features, weight, bias)
    return features.flatten(1)


def _packed_context(weight: Tensor, bias: Tensor) -> Rows | None:
    """The masked convolution by oneDNN with its weights reordered once; None without oneDNN."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call,unused-ignore]
        return None
    column = weight.flatten(2)[:, :, :TAPS].unsqueeze(3).contiguous()
    plain = ((0, 0), (1, 1), (1, 1), 1)  # padding, stride, dilation, groups
    shape = (1, weight.shape[1], TAPS, MAX_BATCH)
    packed = torch.ops.aten.mkldnn_reorder_conv2d_weight(column.to_mkldnn(), *plain, shape)

    def context(taps: Tensor) -> Tensor:
        made: Tensor = torch.ops.aten.mkldnn_convolution(taps, packed, bias, *plain)
        return made[0, :, 0].t()

    return context


def _row_products(layers: list[tuple[Tensor, Tensor]]) -> Rows:
    """The 1x1 convolutions as one vector-matrix product per row of a batch."""
    matrices = [(weight.flatten(1).t(), bias) for weight, bias in layers]

    def parameters(rows: Tensor) -> Tensor:
        count = len(rows)
        for number, (matrix, bias) in enumerate(matrices):
            rows = _aligned(rows)
            if number:
                F.leaky_relu_(rows)
            rows = torch.baddbmm(
                bias.expand(count, 1, -1), rows[:, None], matrix.expand(count, -1, -1)
            )[:, 0]
        return rows

    return parameters


def _aligned(rows: Tensor) -> Tensor:
    """``rows`` (B, K) with each row at a 64-byte boundary."""
    count, width = rows.shape
    if count == 1 or width % _ALIGN == 0:
        return rows
    room = rows.new_empty(count, width + -width % _ALIGN)[:, :width]
    return room.copy_(rows)


def _exact(fast: Rows | None, plain: Rows, shape: tuple[int, ...], dim: int) -> Rows | None:
    """``fast``, if it has the bits of ``plain`` at every batch size; the batch is ``dim``."""
    if fast is None:
        return None
    probe = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = plain(probe)
    for size in range(1, MAX_BATCH + 1):
        if not torch.equal(fast(probe.narrow(dim, 0, size).contiguous()), expected[:size]):
            return None
    return fast
