"""Read one restored image of anyone's, and refuse what cannot be scored, in one sentence.

Accepted: PNG, BMP, TIFF, WebP and JPEG as for HQ images (16 bits are rounded to 8), and ``.npy``
arrays (H, W, 3), uint8 or float in [0, 1].
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import images
from ..codecs.base import RGB
from ..errors import InputError
from ..limits import MAX_PIXELS
from ..models.restorer import to_rgb8

GREY_MODES = ("1", "L", "LA")
_FLOAT_RANGE = (-0.5, 1.5)  # a network's overshoot is clipped; 0..255 is a mistake


def read(path: Path) -> tuple[RGB, bool]:
    """(pixels, whether the file itself is a grey one).

    Raises InputError saying what is wrong with the file.
    """
    if path.suffix.lower() == ".npy":
        return _npy(path)
    image = images.read(path)
    return image.rgb, image.source_mode.partition(";")[0] in GREY_MODES


def _npy(path: Path) -> tuple[RGB, bool]:
    try:
        # Mapped, not read: its header may promise more than there is, or than memory can hold.
        with np.errstate(all="ignore"):
            array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")  # type: ignore[no-untyped-call,unused-ignore]
    except Exception as error:  # whatever numpy's reader, which evaluates text, throws at damage
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path.name} is damaged or no array of pixels ({why})") from error
    if array.size > 3 * MAX_PIXELS:
        raise InputError(f"{path.name} has shape {array.shape}, more than {MAX_PIXELS} pixels")
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1):
        flat = array.reshape(*array.shape[:2], 1)
        array, grey = np.repeat(flat, 3, axis=2), True
    else:
        grey = False
    if array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise InputError(f"{path.name} has shape {array.shape}; it has to be (H, W, 3)")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array), grey
    if array.dtype.kind != "f":
        raise InputError(f"{path.name} is {array.dtype}; it has to be uint8 or float in [0, 1]")
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise InputError(f"{path.name} holds {bad} NaN or infinite values of {array.size}")
    low, high = float(array.min()), float(array.max())
    if low < _FLOAT_RANGE[0] or high > _FLOAT_RANGE[1]:
        raise InputError(f"{path.name} is float from {low:g} to {high:g}; it has to be in [0, 1]")
    return to_rgb8(array), grey


def is_grey(rgb: RGB) -> bool:
    """Red, green and blue are equal everywhere."""
    return bool((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all())
