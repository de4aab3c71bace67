"""PSNR and PSNR-B.

PSNR-B: Yim and Bovik 2011, "Quality assessment of deblocked images", section III: the squared error
grows by the blocking effect factor (BEF) of the *restored* image on JPEG's 8x8 grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .base import Image, Memo, Metric, no_problem, require_same_size
from .distortion import difference_gram, psnr_from_mse

BLOCK = 8
"""Block size of PSNR-B's grid, which starts at the top left corner."""


def psnr(restored: Sequence[Image], hq: Image, memo: Memo) -> NDArray[np.float64]:
    """PSNR in dB of B restored images, from the mean squared error over pixels and channels; (B,).

    ``inf`` where nothing differs. Raises ValueError when sizes differ.
    """
    return np.array([_psnr(image, hq) for image in restored], np.float64)


def _psnr(image: Image, hq: Image) -> float:
    require_same_size(image, hq)
    if hq.dtype == np.uint8:
        return psnr_from_mse(float(np.trace(difference_gram(hq, image))) / hq.size)
    difference = (hq - image).ravel()
    return psnr_from_mse(float(np.dot(difference, difference)) / hq.size)


def psnr_b(restored: Sequence[Image], hq: Image, memo: Memo) -> NDArray[np.float64]:
    """PSNR-B in dB of B restored images, the mean of the channels' own; (B,).

    ``inf`` where nothing differs and nothing looks blocky. Raises ValueError when sizes differ.
    """
    scores = []
    for image in restored:
        require_same_size(image, hq)
        pairs = [(image[..., i].astype(np.float64), hq[..., i]) for i in range(hq.shape[2])]
        scores.append(np.mean([_psnr_b(plane, own) for plane, own in pairs]))
    return np.array(scores, np.float64)


def _psnr_b(plane: NDArray[np.float64], hq: Image) -> float:
    return psnr_from_mse(float(np.mean((plane - hq) ** 2)) + blocking_effect(plane))


def blocking_effect(plane: NDArray[np.float64]) -> float:
    """BEF of an (H, W) plane: how much more neighbours differ across 8x8 borders than inside.

    Eqs. (5) to (12): 0 unless the mean squared difference of neighbours is larger on the borders;
    else the surplus, times ``log2(8) / log2(shorter side)``. 0 for images of one block.
    """
    short = min(plane.shape)
    border_sum = all_sum = 0.0
    borders = pairs = 0
    for lines in (plane, plane.T):
        squares = (lines[:, 1:] - lines[:, :-1]) ** 2
        at_border = squares[:, BLOCK - 1 :: BLOCK]
        border_sum += float(at_border.sum())
        all_sum += float(squares.sum())
        borders += at_border.size
        pairs += squares.size
    if not borders or borders == pairs or short < 2:
        return 0.0
    on, off = border_sum / borders, (all_sum - border_sum) / (pairs - borders)
    return (on - off) * math.log2(BLOCK) / math.log2(short) if on > off else 0.0


PSNR = Metric(
    name="psnr",
    title="PSNR",
    better="higher",
    unit="dB",
    digits=2,
    per="image",
    reference=True,
    protocols=("native-y", "native-rgb", "paper-256"),
    problem=no_problem,
    score=psnr,
    doc="10 log10(255^2 / MSE), MSE over all pixels and channels of one image; inf is equal",
)

PSNR_B = Metric(
    name="psnr-b",
    title="PSNR-B",
    better="higher",
    unit="dB",
    digits=2,
    per="image",
    reference=True,
    protocols=("native-y", "native-rgb"),
    problem=no_problem,
    score=psnr_b,
    doc="Yim and Bovik 2011, eq. (13), 8x8 grid, blocking of the restored image; like PSNR",
)
