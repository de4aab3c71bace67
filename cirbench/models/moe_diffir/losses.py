"""What is minimised: pictures against pictures, weight-free or LPIPS, and sharpened targets."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ...codecs.torch_compat import import_torchvision
from ...errors import CirbenchError
from ...metrics import lpips as metric
from ...metrics.distortion import Y_WEIGHTS
from ...train.settings import IMAGE_TERMS

NET = "vgg"


def image_loss(made: Tensor, hq: Tensor, weights: Mapping[str, float], random: bool) -> Tensor:
    """Weighted sum of terms between two (B, 3, H, W) in [0, 1]; a scalar.

    Args:
        weights: ``pixels``: mean absolute difference; ``edges``: the same of the differences
            between neighbouring pixels, across and down; ``gradients``: the same of how steep the
            two are, whatever the direction, which rewards texture; ``ssim``: 1 - SSIM; ``gmsd``:
            the metric of that name; ``lpips``: LPIPS with VGG-16 (eq. 4).
        random: LPIPS on a random backbone, for measuring cost only.

    Raises CirbenchError for an unknown term.
    """
    total = made.new_zeros(())
    for name, weight in weights.items():
        if name == "pixels":
            one = (made - hq).abs().mean()
        elif name == "edges":
            one = edges(made, hq)
        elif name == "gradients":
            one = (steepness(made) - steepness(hq)).abs().mean()
        elif name == "ssim":
            one = 1 - ssim(made, hq)
        elif name == "gmsd":
            one = gmsd(made, hq).mean()
        elif name == "lpips":
            one = _lpips(str(made.device), random)(2 * made - 1, 2 * hq - 1).mean()
        else:
            raise CirbenchError(f"there is no loss {name!r}; use {', '.join(IMAGE_TERMS)}")
        total = total + weight * one
    return total


def edges(made: Tensor, hq: Tensor) -> Tensor:
    """Mean absolute difference of the two pictures' differences between neighbours; a scalar."""
    error = made - hq
    across = (error[..., 1:] - error[..., :-1]).abs().mean()
    down = (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return across + down


def steepness(image: Tensor) -> Tensor:
    """Length of the gradient, of differences between neighbours: (B, 3, H - 1, W - 1)."""
    across = image[..., :-1, 1:] - image[..., :-1, :-1]
    down = image[..., 1:, :-1] - image[..., :-1, :-1]
    # The small number keeps the root's slope finite where an image is flat.
    return (across.square() + down.square() + 1e-5).sqrt()


def ssim(made: Tensor, hq: Tensor) -> Tensor:
    """Mean SSIM of (B, 3, H, W) in [0, 1] over channels and pixels; a scalar.

    Wang et al. 2004: Gaussian window of 11 x 11, sigma 1.5, where it fits in the picture.
    """
    window = _gaussian(torch.arange(-5, 6, device=hq.device, dtype=hq.dtype), 1.5)
    both = torch.cat([made, hq, made * made, hq * hq, made * hq], 1)
    mean, other, square, other_square, product = _filtered(both, window).chunk(5, dim=1)
    variances = square - mean * mean + other_square - other * other
    covariance = product - mean * other
    luminance = (2 * mean * other + 0.01**2) / (mean * mean + other * other + 0.01**2)
    return (luminance * (2 * covariance + 0.03**2) / (variances + 0.03**2)).mean()


def gmsd(made: Tensor, hq: Tensor) -> Tensor:
    """GMSD of (B, 3, H, W) in [0, 1] on Y, as ``cirbench.metrics.gmsd`` has it, but smooth; (B,).

    Sides are even and of at least 4 pixels.
    """
    own, other = _prewitt(made), _prewitt(hq)
    # The small numbers keep roots' slopes finite; the metric's own 170 is far above them.
    product = (own * other + 1e-3).sqrt()
    similarity = (2 * product + 170) / (own + other + 170)
    return (similarity.flatten(1).var(1) + 1e-8).sqrt()


def _prewitt(image: Tensor) -> Tensor:
    """Squared gradient magnitude of the 2x2 means of Y, 0 to 255: (B, 1, H / 2, W / 2)."""
    weights = image.new_tensor(Y_WEIGHTS * 255)[:, None, None]
    half = functional.avg_pool2d((image * weights).sum(1, True), 2)
    step, mean = half.new_tensor([-1.0, 0, 1]), half.new_full((3,), 1 / 3)
    taps = torch.stack([torch.outer(mean, step), torch.outer(step, mean)])[:, None]
    with torch.autocast(image.device.type, enabled=False):
        return functional.conv2d(half, taps, padding=1).square().sum(1, True)


def problem(weights: Mapping[str, float], random: bool) -> str:
    """``""`` when these terms can be computed here, else what is missing and how to get it."""
    return metric.problem(NET) if weights.get("lpips") and not random else ""


@lru_cache(maxsize=1)
def _lpips(device: str, random: bool) -> Any:
    if not random:
        return metric.model(NET, device)
    import_torchvision()
    import lpips

    made = lpips.LPIPS(net=NET, pnet_rand=True, verbose=False)
    return made.requires_grad_(False).eval().to(device)


def sharpened(image: Tensor, weight: float = 0.5, threshold: float = 10.0) -> Tensor:
    """Unsharp mask where it makes a visible change (release, after Wang et al. 2021).

    Args:
        image: (B, 3, H, W) in [0, 1].
        weight: of what is added.
        threshold: smallest change, of 255, that is sharpened.
    """
    detail = image - _blur(image)
    mask = _blur((detail.abs() * 255 > threshold).to(image.dtype))
    sharp = (image + weight * detail).clamp(0, 1)
    return mask * sharp + (1 - mask) * image


def _blur(image: Tensor, radius: int = 25) -> Tensor:
    """Gaussian of 2 x 25 + 1 taps; sigma as OpenCV derives it from the number of taps."""
    sigma = 0.3 * (radius - 1) + 0.8
    at = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    return _filtered(functional.pad(image, (radius,) * 4, mode="reflect"), _gaussian(at, sigma))


def _gaussian(at: Tensor, sigma: float) -> Tensor:
    taps = torch.exp(-0.5 * (at / sigma) ** 2)
    return taps / taps.sum()


def _filtered(image: Tensor, taps: Tensor) -> Tensor:
    """(B, C, H, W) by ``taps`` (n,) across and down: (B, C, H - n + 1, W - n + 1)."""
    channels = image.shape[1]
    taps = taps.expand(channels, 1, 1, -1)
    with torch.autocast(image.device.type, enabled=False):  # pixels have more digits than bf16
        across = functional.conv2d(image, taps, groups=channels)
        return functional.conv2d(across, taps.transpose(2, 3), groups=channels)
