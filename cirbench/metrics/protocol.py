"""Protocols: named, versioned ways of making images comparable, before any metric sees them.

Every protocol first makes 8-bit RGB of what comes in: restored images are compared as they would
be saved. A float image in [0, 1] is clipped and rounded to the nearest of 256 values (what writing
a PNG does); uint8 stays as it is. Every image is scored on its own, and images are averaged:
errors are never pooled over images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import suggest
from ..codecs.base import RGB
from ..errors import CirbenchError, InputError
from .base import Image
from .distortion import Y_WEIGHTS

PATCH = 128
"""Side of the crops of ``patch-fid``."""

_SIDE = 256  # of paper-256


@dataclass(frozen=True)
class Protocol:
    """One protocol.

    Attributes:
        name: as on the command line: ``"native-y"``.
        version: goes up when a number it gives would change.
        doc: what it does, exactly.
        prepare: one image, (H, W, 3), uint8 or float in [0, 1], to what metrics take. Raises
            InputError for another shape or dtype, and for NaN or infinite values.
    """

    name: str
    version: int
    doc: str
    prepare: Callable[[NDArray[Any]], Image]


def to_rgb8(image: NDArray[Any]) -> RGB:
    """8-bit RGB of an (H, W, 3) image, uint8 or float in [0, 1] (clipped, rounded to nearest).

    Raises InputError for another shape or dtype, an empty image, and NaN or infinite values.
    """
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f"this image has shape {image.shape}, metrics need RGB, (H, W, 3)")
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind != "f":
        raise InputError(f"this image is {image.dtype}, metrics need uint8 or float in [0, 1]")
    if not np.isfinite(image).all():
        bad = int(image.size - np.isfinite(image).sum())
        raise InputError(f"{bad} of {image.size} values of this image are NaN or infinite")
    rgb: RGB = np.rint(np.clip(image, 0, 1) * image.dtype.type(255)).astype(np.uint8)
    return rgb


def luma(rgb: RGB) -> NDArray[np.float64]:
    """Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255 of 8-bit RGB, not rounded; (H, W, 1)."""
    red, green, blue = (np.ascontiguousarray(rgb[..., i]) for i in range(3))
    y: NDArray[np.float64] = red * Y_WEIGHTS[0]
    y += green * Y_WEIGHTS[1]
    y += blue * Y_WEIGHTS[2]
    y += 16
    return y[..., None]


def shrink(rgb: RGB) -> RGB:
    """Shorter side to 256 (bilinear with antialiasing, as Pillow does it), 256x256 from the centre.

    The longer side becomes ``int(256 * longer / shorter)``; the crop starts at ``round((side -
    256) / 2)``, halves to even. As torchvision's ``Resize(256)`` and ``CenterCrop(256)`` of a
    Pillow image.
    """
    from PIL import Image as Pillow

    height, width = rgb.shape[:2]
    short = min(height, width)
    size = (_SIDE * width // short, _SIDE * height // short)
    picture = Pillow.fromarray(np.ascontiguousarray(rgb))
    small = np.asarray(picture.resize(size, Pillow.Resampling.BILINEAR))
    top, left = (round((side - _SIDE) / 2) for side in small.shape[:2])
    return np.ascontiguousarray(small[top : top + _SIDE, left : left + _SIDE])


def crops(rgb: RGB, side: int = PATCH) -> RGB:
    """Non-overlapping crops from the top left corner, (N, side, side, 3); the rest is left out."""
    down, across = rgb.shape[0] // side, rgb.shape[1] // side
    tiles = rgb[: down * side, : across * side].reshape(down, side, across, side, 3)
    return np.ascontiguousarray(tiles.swapaxes(1, 2)).reshape(-1, side, side, 3)


_ALL = (
    Protocol(
        "native-rgb",
        1,
        "full size, 8-bit RGB, no border left out; a metric without colours of its own is the mean"
        " over R, G and B (PSNR: of the squared error)",
        to_rgb8,
    ),
    Protocol(
        "native-y",
        1,
        "full size, Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255 of 8-bit RGB (MATLAB's"
        " rgb2ycbcr), float64, not rounded, no border left out, data range 255",
        lambda image: luma(to_rgb8(image)),
    ),
    Protocol(
        "paper-256",
        1,
        "8-bit RGB, both images resized until the shorter side is 256 (Pillow's bilinear, which"
        " antialiases), 256x256 cut from the centre: how MoE-DiffIR's released test code makes its"
        " inputs, here applied to the results",
        lambda image: shrink(to_rgb8(image)),
    ),
    Protocol(
        "patch-fid",
        1,
        "all non-overlapping 128x128 crops of the full-size 8-bit RGB image, from the top left"
        " corner; what is left at the right and bottom edge is not used",
        lambda image: crops(to_rgb8(image)),
    ),
)

_BY_NAME = {protocol.name: protocol for protocol in _ALL}


def names() -> tuple[str, ...]:
    """Names of all protocols."""
    return tuple(_BY_NAME)


def get(name: str) -> Protocol:
    """The protocol called ``name``. Raises CirbenchError, suggesting the nearest names."""
    if name not in _BY_NAME:
        raise CirbenchError(f"there is no protocol {name!r}; {suggest.hint(name, _BY_NAME)}")
    return _BY_NAME[name]
