"""DISTS: Ding et al. 2020, "Image quality assessment: unifying structure and texture similarity".

VGG-16 with L2 pooling (eq. 1) in place of max pooling; structure and texture terms of six stages
(eqs. 5 and 6), weighted by the authors' alpha and beta (eq. 7), which torchmetrics' wheel holds.
Images are 8-bit RGB at full size; the authors' own test code first resizes to a shorter side of
256: use ``paper-256`` for something close to that.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UnavailableError
from . import networks
from .base import Image, Memo, Metric, require_same_size, require_side

_BACKBONE = "vgg16"
_LAST_CONVS = (2, 7, 14, 21, 28)  # torchvision's numbers of the convolutions that end a stage
_C = 1e-6
_SMALLEST = 16


def problem() -> str:
    """``""`` when torch, torchmetrics with the authors' weights, and the backbone are here."""
    text = networks.problem("DISTS", ("torch", "torchmetrics"), (_BACKBONE,))
    if text or _authors_weights().is_file():
        return text
    return "DISTS needs a torchmetrics that has its weights; run: pip install -U torchmetrics"


def _authors_weights() -> Path:
    """Where torchmetrics has alpha and beta (3 + 64 + 128 + 256 + 512 + 512 numbers each)."""
    spec = importlib.util.find_spec("torchmetrics")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    return folder / "functional" / "image" / "dists_models" / "weights.pt"


@lru_cache(maxsize=1)
def model(device: str) -> tuple[dict[str, Any], Any, Any]:
    """(VGG-16's weights, alpha, beta) on ``device``; alpha and beta sum to 1 together."""
    import torch

    backbone = {key: value.to(device) for key, value in networks.load(_BACKBONE).items()}
    both = torch.load(_authors_weights(), map_location=device, weights_only=True)
    alpha, beta = both["alpha"].flatten(), both["beta"].flatten()
    total = alpha.sum() + beta.sum()
    return backbone, alpha / total, beta / total


def score(restored: Sequence[Image], hq: Image, memo: Memo) -> NDArray[np.float64]:
    """DISTS of B restored 8-bit RGB images and their HQ image; (B,).

    Raises InputError below 16x16 pixels, ValueError when sizes differ, UnavailableError when
    packages or weights are missing.
    """
    if text := problem():
        raise UnavailableError(text)
    import torch

    require_side("DISTS", hq, _SMALLEST)
    backbone, alpha, beta = model(networks.device(memo))
    scores = []
    with torch.inference_mode():
        if "dists" not in memo:
            memo["dists"] = [_moments(s) for s in _stages(backbone, networks.tensor(hq, memo))]
        for image in restored:
            require_same_size(image, hq)
            similar, at = 0.0, 0
            for stage, own in zip(
                _stages(backbone, networks.tensor(image, memo)), memo["dists"], strict=True
            ):
                means, variances, centred = _moments(stage)
                covariance = (centred * own[2]).mean((2, 3))[0]
                texture = (2 * means * own[0] + _C) / (means**2 + own[0] ** 2 + _C)
                structure = (2 * covariance + _C) / (variances + own[1] + _C)
                here = slice(at, at + len(means))
                similar += float((alpha[here] * texture).sum() + (beta[here] * structure).sum())
                at += len(means)
            scores.append(1 - similar)
    return np.array(scores, np.float64)


def _moments(stage: Any) -> tuple[Any, Any, Any]:
    """(means (C,), variances (C,), deviations from the means (1, C, H, W))."""
    means = stage.mean((2, 3), keepdim=True)
    centred = stage - means
    return means[0, :, 0, 0], (centred**2).mean((2, 3))[0], centred


def _stages(backbone: dict[str, Any], image: Any) -> list[Any]:
    """The image itself and the last activation of VGG-16's five stages."""
    import torch
    import torch.nn.functional as F

    mean = torch.tensor([0.485, 0.456, 0.406], device=image.device).view(1, 3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225], device=image.device).view(1, 3, 1, 1)
    hann = torch.tensor([0.5, 1.0, 0.5], device=image.device)
    hann = (hann[:, None] * hann[None, :] / hann.sum() ** 2)[None, None]
    found, x = [image], (image - mean) / deviation
    convolutions = sorted(int(k.split(".")[1]) for k in backbone if k.startswith("features"))
    for number in dict.fromkeys(convolutions):
        name = f"features.{number}"
        x = F.relu(F.conv2d(x, backbone[f"{name}.weight"], backbone[f"{name}.bias"], padding=1))
        if number in _LAST_CONVS:
            found.append(x)
            kernel = hann.expand(x.shape[1], 1, 3, 3)
            pooled = F.conv2d(x**2, kernel, stride=2, padding=1, groups=x.shape[1])
            x = (pooled + 1e-12).sqrt()
    return found


DISTS = Metric(
    name="dists",
    title="DISTS",
    better="lower",
    unit="",
    digits=4,
    per="image",
    reference=True,
    protocols=("native-rgb", "paper-256"),
    problem=problem,
    score=score,
    doc="Ding et al. 2020, eq. (7), VGG-16; 0 is equal, up to about 1",
)
