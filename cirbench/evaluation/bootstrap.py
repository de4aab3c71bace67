"""Intervals and significance, over images: what other photos of the same kind could have given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

RESAMPLES = 2000
PERMUTATIONS = 10_000
_EXACT = 13  # up to so many images, all 2**n sign patterns are tried
_SEED = 20240923
_BLOCK = 250


@lru_cache(maxsize=2)
def _counts(images: int) -> NDArray[np.float32]:
    """How often each of ``images`` is drawn in each resample, (RESAMPLES, images)."""
    rng = np.random.default_rng([_SEED, images])
    even = np.full(images, 1 / images)
    return rng.multinomial(images, even, RESAMPLES).astype(np.float32)


def interval(values: Values, level: float = 0.95) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the mean of ``values`` (n,), one per image.

    2,000 resamples with a fixed seed: equal values, equal interval. None for fewer than two.
    """
    if len(values) < 2:
        return None
    centre = values.mean()  # float32 counts are exact; centring keeps the products precise
    means = centre + (_counts(len(values)) @ (values - centre)) / len(values)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Paired:
    """Mean difference of two methods over the same images.

    Attributes:
        mean: of the differences, in the metric's unit.
        low, high: its 95 % bootstrap interval; None for a single image.
        p: two-sided p-value of the sign-flip permutation test; None for a single image.
        images: how many.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    images: int


def paired(differences: Values) -> Paired:
    """Compare two methods by the differences of their scores, one per image, (n,), n >= 1.

    The p-value is the share of sign patterns whose mean is at least as far from 0 as the real one:
    of all 2**n for up to 13 images (so it is never below 2 / 2**n), else of 10,000 random ones
    and the real one.
    """
    count = len(differences)
    mean = float(differences.mean())
    bounds = interval(differences)
    if bounds is None:
        return Paired(mean, None, None, None, count)
    return Paired(mean, *bounds, _sign_flip(differences), count)


def _sign_flip(differences: Values) -> float:
    count = len(differences)
    # Patterns that mirror the real one must tie with it, whatever the order of summation.
    limit = abs(differences.sum()) - 1e-9 * np.abs(differences).sum()
    if count <= _EXACT:
        patterns = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        sums = (1 - 2 * patterns) @ differences
        return float(np.mean(np.abs(sums) >= limit))
    rng = np.random.default_rng([_SEED, count])
    extreme = 1
    for _ in range(PERMUTATIONS // _BLOCK):
        signs = 1 - 2 * rng.integers(0, 2, (_BLOCK, count), dtype=np.int8)
        extreme += int((np.abs(signs @ differences) >= limit).sum())
    return extreme / (PERMUTATIONS + 1)
