"""FID: Heusel et al. 2017, "GANs trained by a two time-scale update rule", eq. (6).

The distance between two Gaussians fitted to Inception features: ``|m1 - m2|^2 + tr(S1 + S2 - 2
(S1 S2)^0.5)``. Written with factors ``S = F'F``, the last trace is the sum of the singular values
of ``F1 F2'``: exact also where there are fewer images than features, and then fast.

With few images FID mostly measures how few they are: it is biased upwards, by different amounts
for different methods. Below 2,000 images (crops, under ``patch-fid``) a warning says so.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CirbenchError, InputError, UnavailableError
from . import inception, networks
from .base import Image, Images, Memo, Metric

ENOUGH = 2000
"""Fewer images than this make FID doubtful."""

_WEIGHTS = "fid-inception"
_CROPS = 16  # crops at a time through the network

problem = partial(networks.problem, "FID", ("torch",), (_WEIGHTS,))


class FewImagesWarning(UserWarning):
    """FID of fewer than 2,000 images."""


@dataclass(frozen=True)
class Statistics:
    """A Gaussian fitted to feature vectors: their number, mean (D,), and a factor (K, D) of their
    covariance, ``factor.T @ factor``, K at most D."""

    count: int
    mean: NDArray[np.float64]
    factor: NDArray[np.float64]

    def save(self, path: Path) -> None:
        """Write an ``.npz`` file; it is complete or not there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        with open(part, "wb") as file:
            np.savez(file, count=self.count, mean=self.mean, factor=self.factor)
        os.replace(part, path)

    @staticmethod
    def load(path: Path) -> Statistics:
        """Read what :meth:`save` wrote. Raises CirbenchError for another file."""
        try:
            with np.load(path, allow_pickle=False) as file:
                return Statistics(int(file["count"]), file["mean"], file["factor"])
        except (OSError, ValueError, KeyError) as error:
            raise CirbenchError(f"{path} does not hold FID statistics; delete it") from error


def fit(features: NDArray[Any]) -> Statistics:
    """Statistics of (N, D) feature vectors, N at least 2. Raises InputError for fewer."""
    count = len(features)
    if count < 2:
        raise InputError(f"FID needs at least 2 images (or crops), here is {count}")
    vectors = features.astype(np.float64)
    mean = vectors.mean(0)
    factor = (vectors - mean) / np.sqrt(count - 1)
    if count > factor.shape[1]:
        factor = np.linalg.qr(factor, mode="r")
    return Statistics(count, mean, factor)


def frechet(one: Statistics, other: Statistics) -> float:
    """The Frechet distance between two fitted Gaussians (FID's number); 0 when they are equal."""
    shared = np.linalg.svd(one.factor @ other.factor.T, compute_uv=False).sum()
    traces = (one.factor**2).sum() + (other.factor**2).sum()
    distance = ((one.mean - other.mean) ** 2).sum() + traces - 2 * shared
    return max(float(distance), 0.0)


@lru_cache(maxsize=1)
def _model(device: str) -> inception.State:
    state = networks.load(_WEIGHTS)
    if not inception.fits(state):
        raise UnavailableError(f"the weights {_WEIGHTS} are not the FID Inception's")
    return {name: value.to(device) for name, value in state.items()}


def features(images: Images, memo: Memo) -> NDArray[np.float32]:
    """Inception features (M, 2048) of prepared images: (H, W, 3) or (N, H, W, 3), 8-bit RGB.

    Raises UnavailableError when torch or the weights are missing.
    """
    if text := problem():
        raise UnavailableError(text)
    import torch

    state = _model(networks.device(memo))
    found = [np.empty((0, 2048), np.float32)]
    with torch.inference_mode():
        for some in _batches(images):
            planes = np.ascontiguousarray(some.transpose(0, 3, 1, 2))
            batch = torch.from_numpy(planes).to(networks.device(memo)).float() / 255
            found.append(inception.features(state, batch).cpu().numpy())
    return np.concatenate(found)


def _batches(images: Images) -> Iterator[Image]:
    for image in images:
        crops = image if image.ndim == 4 else image[None]
        for at in range(0, len(crops), _CROPS):
            yield crops[at : at + _CROPS]


def score(restored: Images, hq: Images, memo: Memo) -> float:
    """FID of a group of restored images against their HQ images.

    The HQ statistics are kept in ``memo["fid"]``. ``memo["fid-file"]``, a path that the caller
    names after the HQ images and the protocol, is read instead when it is there, and written when
    it is not. ``memo["fid-count"]`` tells how many restored images (crops) were counted.

    Warns (FewImagesWarning) below 2,000. Raises InputError below 2, UnavailableError when torch or
    the weights are missing.
    """
    if "fid" not in memo:
        memo["fid"] = _reference(hq, memo)
    ours = fit(features(restored, memo))
    memo["fid-count"] = ours.count
    if min(ours.count, memo["fid"].count) < ENOUGH:
        text = f"FID of {ours.count} images says little: compare only equal sets, 2,000 or more"
        warnings.warn(text, FewImagesWarning, stacklevel=2)
    return frechet(ours, memo["fid"])


def _reference(hq: Images, memo: Memo) -> Statistics:
    file = Path(memo["fid-file"]) if "fid-file" in memo else None
    if file and file.is_file():
        return Statistics.load(file)
    found = fit(features(hq, memo))
    if file:
        found.save(file)
    return found


FID = Metric(
    name="fid",
    title="FID",
    better="lower",
    unit="",
    digits=2,
    per="set",
    reference=True,
    protocols=("native-rgb", "patch-fid", "paper-256"),
    problem=problem,
    score=score,
    doc="Heusel et al. 2017, eq. (6), features and resizing of pytorch-fid; 0 is equal; needs"
    " 2,000 images or crops to mean something",
)
