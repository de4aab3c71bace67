"""SSIM and MS-SSIM in float64, with everything that depends on the HQ image done once.

SSIM: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity",
eq. (13), K = 0.01 / 0.03, data range 255, Gaussian 11x11 window, sigma 1.5, population variances,
averaged where the window fits. Equal to scikit-image's ``structural_similarity`` with
``gaussian_weights=True, use_sample_covariance=False, data_range=255``.

MS-SSIM: Wang et al. 2003, "Multi-scale structural similarity for image quality assessment", eq.
(7), five scales, 2x2 means in between. Equal to the package pytorch-msssim, which learned
compression reports: an odd side gets a line of zeros at both ends before it is halved, and
negative contrast-structure means count as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .base import Image, Memo, Metric, no_problem, require_same_size, require_side
from .window import SIZE, Planes, blur

SCALE_WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
"""Exponents of the five scales of MS-SSIM, finest first (Wang et al. 2003, section 3.2)."""

_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_ROWS = 64  # window rows at a time: the temporaries stay in the cache
_SMALLEST = (SIZE - 1) * 2 ** (len(SCALE_WEIGHTS) - 1) + 1  # of MS-SSIM


@dataclass(frozen=True)
class Reference:
    """What SSIM needs of one HQ plane: its pixels, window means and window variances."""

    plane: Planes
    mean: Planes
    variance: Planes


def reference(plane: Planes) -> Reference:
    """Statistics of an (H, W) float64 plane, values in 0..255."""
    rows = plane.shape[0] - SIZE + 1
    mean = np.empty((rows, plane.shape[1] - SIZE + 1))
    variance = np.empty_like(mean)
    for top in range(0, rows, _ROWS):
        block = plane[top : top + _ROWS + SIZE - 1]
        mean[top : top + _ROWS], square = blur(np.stack((block, block * block)))
        variance[top : top + _ROWS] = square - mean[top : top + _ROWS] ** 2
    return Reference(plane, mean, variance)


def compare(hq: Reference, plane: Planes) -> tuple[float, float]:
    """(SSIM, its contrast-structure factor alone), both averaged over the windows."""
    rows, columns = hq.mean.shape
    similarity = contrast = 0.0
    for top in range(0, rows, _ROWS):
        block = plane[top : top + _ROWS + SIZE - 1]
        planes = np.empty((3, *block.shape))
        planes[0] = block
        np.multiply(block, block, out=planes[1])
        np.multiply(block, hq.plane[top : top + len(block)], out=planes[2])
        mean, square, product = blur(planes)
        hq_mean = hq.mean[top : top + _ROWS]
        means = hq_mean * mean
        product -= means
        product *= 2
        product += _C2
        both = mean * mean
        square -= both
        square += hq.variance[top : top + _ROWS]
        square += _C2
        product /= square
        contrast += float(product.sum())
        means *= 2
        means += _C1
        np.multiply(hq_mean, hq_mean, out=square)
        both += square
        both += _C1
        means /= both
        similarity += float(np.vdot(means, product))
    return similarity / (rows * columns), contrast / (rows * columns)


def channels(image: Image) -> list[Planes]:
    """The channels of an (H, W, C) image as contiguous float64 (H, W) planes."""
    return [np.ascontiguousarray(image[..., i], np.float64) for i in range(image.shape[2])]


def ssim(restored: Sequence[Image], hq: Image, memo: Memo) -> NDArray[np.float64]:
    """SSIM of B restored images (H, W, C) and their HQ image, mean over the channels; (B,).

    Raises InputError below 11x11 pixels, ValueError when sizes differ.
    """
    require_side("SSIM", hq, SIZE)
    if "ssim" not in memo:
        memo["ssim"] = [reference(plane) for plane in channels(hq)]
    scores = []
    for image in restored:
        require_same_size(image, hq)
        pairs = zip(memo["ssim"], channels(image), strict=True)
        scores.append(np.mean([compare(own, plane)[0] for own, plane in pairs]))
    return np.array(scores, np.float64)


def ms_ssim(restored: Sequence[Image], hq: Image, memo: Memo) -> NDArray[np.float64]:
    """MS-SSIM of B restored images (H, W, C) and their HQ image, mean over the channels; (B,).

    Raises InputError when a side has 160 pixels or fewer, ValueError when sizes differ.
    """
    require_side("MS-SSIM", hq, _SMALLEST)
    if "ms-ssim" not in memo:
        finest = memo.get("ssim") or [reference(plane) for plane in channels(hq)]
        memo["ms-ssim"] = [_pyramid(own) for own in finest]
    scores = []
    for image in restored:
        require_same_size(image, hq)
        pairs = zip(memo["ms-ssim"], channels(image), strict=True)
        scores.append(np.mean([_multi_scale(levels, plane) for levels, plane in pairs]))
    return np.array(scores, np.float64)


def _pyramid(finest: Reference) -> list[Reference]:
    levels = [finest]
    while len(levels) < len(SCALE_WEIGHTS):
        levels.append(reference(halve(levels[-1].plane)))
    return levels


def _multi_scale(levels: Sequence[Reference], plane: Planes) -> float:
    factors = []
    for scale, hq in enumerate(levels):
        similarity, contrast = compare(hq, plane)
        last = scale == len(levels) - 1
        factors.append(max(similarity if last else contrast, 0.0))
        if not last:
            plane = halve(plane)
    return float(np.prod(np.array(factors) ** SCALE_WEIGHTS))


def halve(plane: Planes) -> Planes:
    """Means of 2x2 blocks; an odd side first gets a zero line at both of its ends."""
    height, width = plane.shape
    if height % 2 or width % 2:
        plane = np.pad(plane, [(height % 2,) * 2, (width % 2,) * 2])
        plane = plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2]
    rows = plane[0::2] + plane[1::2]
    half: Planes = (rows[:, 0::2] + rows[:, 1::2]) / 4
    return half


SSIM = Metric(
    name="ssim",
    title="SSIM",
    better="higher",
    unit="",
    digits=4,
    per="image",
    reference=True,
    protocols=("native-y", "native-rgb", "paper-256"),
    problem=no_problem,
    score=ssim,
    doc="Wang et al. 2004, eq. (13), Gaussian 11x11 window of sigma 1.5; -1..1, 1 is equal",
)

MS_SSIM = Metric(
    name="ms-ssim",
    title="MS-SSIM",
    better="higher",
    unit="",
    digits=4,
    per="image",
    reference=True,
    protocols=("native-rgb", "native-y", "paper-256"),
    problem=no_problem,
    score=ms_ssim,
    doc="Wang et al. 2003, eq. (7), five scales, sides above 160 pixels; 0..1, 1 is equal",
)
