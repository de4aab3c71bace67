"""The randomness of one training step: the same whatever the processes and pieces it is run in."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def seed_of(*key: object) -> int:
    """63 bits that follow from ``key``."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1


class Noise:
    """Random values for some samples of a step.

    Values are drawn on the CPU for the whole step, then those of ``rows`` are taken: a sample's
    values depend on its place in the step alone.

    Args:
        key: decides everything, such as (seed, stage, step).
        rows: which samples of the step, of ``total``.
        device: of the values.
    """

    def __init__(
        self, key: tuple[object, ...], rows: range, total: int, device: torch.device | str = "cpu"
    ) -> None:
        self.generator = torch.Generator().manual_seed(seed_of(*key))
        self.rows, self.total, self.device = rows, total, device

    def _mine(self, values: Tensor) -> Tensor:
        return values[self.rows.start : self.rows.stop].to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """N(0, 1), float32 (rows, *shape)."""
        return self._mine(torch.randn(self.total, *shape, generator=self.generator))

    def integers(self, high: int) -> Tensor:
        """0 to high - 1, int64 (rows,)."""
        return self._mine(torch.randint(high, (self.total,), generator=self.generator))

    def uniform(self) -> Tensor:
        """0 to 1, float32 (rows,)."""
        return self._mine(torch.rand(self.total, generator=self.generator))

    def chosen(self, share: float) -> Tensor:
        """True with probability ``share``, bool (rows,)."""
        return self.uniform() < share
