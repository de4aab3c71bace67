"""Entropy coding of HiFiC's hyper-latents and latents with CompressAI's rANS coder.

Every symbol is an integer coded with one of a few fixed tables: one table per hyper-latent channel,
and one per scale for the latents (64 scales from 0.11 to 256, evenly spaced in the logarithm; a
latent takes the next larger one). Hyper-latents and latents share one stream, in that order.
Values in a table's tail are escaped, so every integer can be coded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .hific_model import HyperDensity

PRECISION = 16
TAIL = 2.0**-PRECISION
"""Probability left outside a table: what the coder's smallest frequency stands for."""

REACH = 2048
"""Largest hyper-latent that gets a table entry of its own."""

SCALES = np.exp(np.linspace(np.log(0.11), np.log(256), 64)).astype(np.float32)

Symbols = NDArray[np.int32]
"""Flat, in the order of (C, H, W)."""


@dataclass(frozen=True)
class Tables:
    """Cumulative frequencies in the form CompressAI's coder takes: ``cdfs[i]`` starts at value
    ``offsets[i]``, has ``sizes[i]`` entries and ends with the escape."""

    cdfs: list[list[int]]
    sizes: list[int]
    offsets: list[int]


def _tables(probabilities: list[Tensor], offsets: list[int]) -> Tables:
    """Quantise each distribution (float64, without its tail, which the escape gets) to 16 bits."""
    from compressai._CXX import pmf_to_quantized_cdf

    cdfs = []
    for values in probabilities:
        escape = max(1.0 - float(values.sum()), 0.0)
        cdfs.append(pmf_to_quantized_cdf([*values.tolist(), escape], PRECISION))
    return Tables(cdfs, [len(cdf) for cdf in cdfs], offsets)


def latent_tables(likelihood: str) -> Tables:
    """One table per entry of :data:`SCALES`, for ``"gaussian"`` or ``"logistic"`` latents."""
    scales = torch.from_numpy(SCALES).double()
    if likelihood == "gaussian":
        far = -torch.special.ndtri(torch.tensor(TAIL / 2, dtype=torch.float64))
        cumulative = torch.special.ndtr
    else:
        far = -torch.logit(torch.tensor(TAIL / 2, dtype=torch.float64))
        cumulative = torch.sigmoid
    probabilities, offsets = [], []
    for scale in scales:
        reach = int(torch.ceil(scale * far))
        distance = torch.arange(-reach, reach + 1, dtype=torch.float64).abs()
        # Both in the left tail, where differences of small numbers stay exact.
        values = cumulative((0.5 - distance) / scale) - cumulative((-0.5 - distance) / scale)
        probabilities.append(values)
        offsets.append(-reach)
    return _tables(probabilities, offsets)


def hyper_tables(density: HyperDensity) -> Tables:
    """One table per hyper-latent channel, from the learned density."""
    channels = density.get_parameter("H_0").shape[0]
    edges = torch.arange(-REACH - 0.5, REACH + 1, dtype=torch.float64)
    logits = density.cpu().logits(edges.expand(channels, 1, -1))[:, 0]
    below = torch.sigmoid(logits)
    # As above: take the difference on the side where both are small.
    values = torch.where(
        logits[:, 1:] + logits[:, :-1] > 0,
        torch.sigmoid(-logits[:, :-1]) - torch.sigmoid(-logits[:, 1:]),
        below[:, 1:] - below[:, :-1],
    ).clamp(min=0)
    probabilities, offsets = [], []
    for channel in range(channels):
        inside = (below[channel, 1:] > TAIL / 2) & (below[channel, :-1] < 1 - TAIL / 2)
        places = torch.nonzero(inside)[:, 0]
        first, last = (int(places[0]), int(places[-1])) if len(places) else (REACH, REACH)
        probabilities.append(values[channel, first : last + 1])
        offsets.append(first - REACH)
    return _tables(probabilities, offsets)


def hyper_indexes(shape: tuple[int, int, int]) -> Symbols:
    """Table of every hyper-latent of shape (C, H, W), flat: its channel."""
    return np.repeat(np.arange(shape[0], dtype=np.int32), shape[1] * shape[2])


def latent_indexes(scales: Tensor) -> Symbols:
    """Table of every latent, flat, from its predicted scale."""
    flat = scales.detach().cpu().numpy().reshape(-1)
    return np.searchsorted(SCALES[:-1], flat, side="left").astype(np.int32)


class Writer:
    """Collects symbols, then codes them; :class:`Reader` takes them in the same order."""

    def __init__(self) -> None:
        from compressai.ans import BufferedRansEncoder

        self._coder = BufferedRansEncoder()

    def add(self, symbols: Symbols, indexes: Symbols, tables: Tables) -> None:
        """Code each symbol with the table of the same place in ``indexes``."""
        self._coder.encode_with_indexes(
            symbols.tolist(),
            indexes.tolist(),
            tables.cdfs,
            tables.sizes,
            tables.offsets,
        )

    def stream(self) -> bytes:
        """All of it, coded."""
        return bytes(self._coder.flush())


class Reader:
    """Gives back what a :class:`Writer` coded."""

    def __init__(self, stream: bytes) -> None:
        from compressai.ans import RansDecoder

        self._coder = RansDecoder()
        self._coder.set_stream(stream)

    def take(self, indexes: Symbols, tables: Tables) -> Symbols:
        """The next ``len(indexes)`` symbols."""
        values = self._coder.decode_stream(
            indexes.tolist(), tables.cdfs, tables.sizes, tables.offsets
        )
        return np.array(values, dtype=np.int32)
