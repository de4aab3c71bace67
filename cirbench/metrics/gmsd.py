"""GMSD: Xue et al. 2014, "Gradient magnitude similarity deviation", eqs. (1) to (6).

As in the authors' MATLAB code: the image is halved by 2x2 means, Prewitt filters with zeros
outside, constant 170 for 8-bit values, sample standard deviation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .base import Image, Memo, Metric, no_problem, require_same_size

Plane = NDArray[np.float64]

_T = 170.0


def gradient_magnitude(plane: Plane) -> Plane:
    """Prewitt gradient magnitude of the 2x2 means of an (H, W) plane; (ceil(H/2), ceil(W/2))."""
    even = np.pad(plane, [(0, side % 2) for side in plane.shape])
    half = (even[0::2, 0::2] + even[0::2, 1::2] + even[1::2, 0::2] + even[1::2, 1::2]) / 4
    padded = np.pad(half, 1)
    columns = padded[:-2] + padded[1:-1] + padded[2:]
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    across = (columns[:, 2:] - columns[:, :-2]) / 3
    down = (rows[2:] - rows[:-2]) / 3
    magnitude: Plane = np.sqrt(across * across + down * down)
    return magnitude


def gmsd(restored: Sequence[Image], hq: Image, memo: Memo) -> NDArray[np.float64]:
    """GMSD of B restored Y images (H, W, 1), values in 0..255; (B,).

    Raises InputError for images of 2x2 pixels or fewer, ValueError when sizes differ.
    """
    if max(hq.shape[:2]) < 3:
        raise InputError("GMSD needs a side of at least 3 pixels")
    if "gmsd" not in memo:
        memo["gmsd"] = gradient_magnitude(hq[..., 0])
    scores = []
    for image in restored:
        require_same_size(image, hq)
        own, other = memo["gmsd"], gradient_magnitude(image[..., 0])
        similarity = (2 * own * other + _T) / (own * own + other * other + _T)
        scores.append(similarity.std(ddof=1))
    return np.array(scores, np.float64)


GMSD = Metric(
    name="gmsd",
    title="GMSD",
    better="lower",
    unit="",
    digits=4,
    per="image",
    reference=True,
    protocols=("native-y",),
    problem=no_problem,
    score=gmsd,
    doc="Xue et al. 2014, eq. (6), on Y; 0 is equal, useful up to about 0.35",
)
