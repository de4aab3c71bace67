"""PSNR on RGB and on Y, exactly, from one pass over the pixels.

Both are quadratic forms of the 3x3 Gram matrix of the channel differences. The differences are
integers, so float64 holds their sums without rounding and the result does not depend on the CPU,
the number of threads or the order of summation.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..codecs.base import RGB

Y_WEIGHTS = np.array([65.481, 128.553, 24.966]) / 255
"""Luma of the restoration field (MATLAB's rgb2ycbcr): Y = 16 + Y_WEIGHTS . RGB, RGB in 0..255."""

_ROWS = 16


def difference_gram(hq: RGB, lq: RGB) -> NDArray[np.float64]:
    """Sums over all pixels of d_i * d_j, d = hq - lq per channel; (3, 3), exact integers."""
    gram = np.zeros((3, 3))
    for top in range(0, len(hq), _ROWS):
        block = np.subtract(hq[top : top + _ROWS], lq[top : top + _ROWS], dtype=np.int16)
        d = [block[..., channel].astype(np.float64).ravel() for channel in range(3)]
        for i in range(3):
            for j in range(i, 3):
                gram[i, j] += np.dot(d[i], d[j])
    gram[np.tril_indices(3, -1)] = gram.T[np.tril_indices(3, -1)]
    return gram


def psnr_from_mse(mse: float) -> float:
    """PSNR in dB for data range 255; ``inf`` when the error is zero."""
    return math.inf if mse == 0 else 10 * math.log10(255**2 / mse)


def psnr_pair(hq: RGB, lq: RGB) -> tuple[float, float]:
    """(PSNR on RGB, PSNR on Y) in dB of two uint8 (H, W, 3) images of one size.

    RGB: the mean squared error over all pixels and channels (protocol ``native-rgb``). Y: float64
    luma of :data:`Y_WEIGHTS`, not rounded, full frame (protocol ``native-y``).

    Raises ValueError when the shapes differ.
    """
    if hq.shape != lq.shape:
        raise ValueError(f"HQ is {hq.shape}, LQ is {lq.shape}")
    gram = difference_gram(hq, lq)
    pixels = hq.shape[0] * hq.shape[1]
    mse_rgb = float(np.trace(gram)) / (3 * pixels)
    mse_y = float(Y_WEIGHTS @ gram @ Y_WEIGHTS) / pixels
    return psnr_from_mse(mse_rgb), psnr_from_mse(mse_y)
