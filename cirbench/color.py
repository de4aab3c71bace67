"""RGB to Y'CbCr planes and back, as every video codec here uses it; pure numpy.

BT.709 matrix, full range (ITU-T H.273: MatrixCoefficients 1, VideoFullRangeFlag 1), at any bit
depth. 4:2:0 takes the mean of each 2x2 block (samples sited at the block's centre) and repeats it
on the way back. ``rounding`` rounds half up once, at the end; ``compressai-compat`` repeats the
truncating 8-bit 4:4:4 arithmetic of CompressAI's codec bench, for parity with its published
numbers only: truncation costs up to 9 dB at high quality.

Results are the same on every CPU: sums of products are exact integers in float32, whatever order
or fused instruction a BLAS uses, and everything after them is one IEEE operation at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .codecs.base import RGB, Settings
from .errors import CirbenchError

Plane = NDArray[np.unsignedinteger[Any]]
Planes = tuple[Plane, Plane, Plane]
"""Y', Cb, Cr; uint8 at 8 bits, uint16 above; Cb and Cr have half the size in 4:2:0."""

KR, KG, KB = 0.2126, 0.7152, 0.0722
"""BT.709 luma weights (ITU-R BT.709-6, item 3.2)."""

# Integer numerators over _DENOMINATORS: 255 * 9278 * 4 stays below 2**24, so float32 is exact.
_NUMERATORS = np.array([[2126, -2126, 7874], [7152, -7152, -7152], [722, 9278, -722]], np.float32)
_DENOMINATORS = (10000, 18556, 15748)
_ROWS = 32  # rows per block: float32 temporaries stay in the cache


def check(settings: Settings) -> None:
    """Raise CirbenchError when chroma, bit depth and conversion do not go together."""
    if settings["conversion"] == "compressai-compat" and (
        settings["chroma"] != "444" or settings["bit_depth"] != 8
    ):
        raise CirbenchError(
            "conversion compressai-compat is 8-bit 4:4:4; add --chroma 444 --bit-depth 8"
        )


def pad(rgb: RGB, minimum: int, multiple: int = 2) -> RGB:
    """Repeat the last row and column up to multiples of ``multiple``, at least ``minimum``."""
    grow = [max(minimum, -(-side // multiple) * multiple) - side for side in rgb.shape[:2]]
    if not any(grow):
        return rgb
    return np.pad(rgb, ((0, grow[0]), (0, grow[1]), (0, 0)), mode="edge")


def rgb_to_planes(rgb: RGB, chroma: str, depth: int, conversion: str = "rounding") -> Planes:
    """Y'CbCr planes of an RGB image.

    Args:
        rgb: uint8, (H, W, 3); H and W even for 4:2:0.
        chroma: ``"420"`` or ``"444"``.
        depth: bits per sample, 8 to 16.
        conversion: ``"rounding"`` or ``"compressai-compat"`` (8-bit 4:4:4 only).

    Returns:
        Y' (H, W) and Cb, Cr (H, W) or (H/2, W/2); uint8 when ``depth`` is 8, else uint16.
    """
    if conversion == "compressai-compat":
        return _compat_planes(rgb)
    height, width, _ = rgb.shape
    step = 2 if chroma == "420" else 1
    dtype: type[np.unsignedinteger[Any]] = np.uint8 if depth == 8 else np.uint16
    y = np.empty((height, width), dtype)
    cb = np.empty((height // step, width // step), dtype)
    cr = np.empty_like(cb)
    peak, zero = (1 << depth) - 1, 1 << (depth - 1)
    for top in range(0, height, _ROWS):
        block = rgb[top : top + _ROWS]
        sums = block.astype(np.float32)
        y[top : top + _ROWS] = _scaled(sums, 0, peak / 255, 0, peak)
        if step == 2:
            pairs = block[0::2].astype(np.uint16)
            pairs += block[1::2]
            sums = (pairs[:, 0::2] + pairs[:, 1::2]).astype(np.float32)
        rows = slice(top // step, (top + _ROWS) // step)
        gain = peak / 255 / step**2
        cb[rows] = _scaled(sums, 1, gain, zero, peak)
        cr[rows] = _scaled(sums, 2, gain, zero, peak)
    return y, cb, cr


def _scaled(
    sums: NDArray[np.float32], component: int, gain: float, offset: int, peak: int
) -> NDArray[np.float32]:
    """offset + gain * component of ``sums``, ready to be truncated to its rounded value."""
    values = sums @ np.ascontiguousarray(_NUMERATORS[:, component])
    # + 0.5 in the numerator's own unit keeps exact ties on their upper side despite float32.
    values += np.float32(0.5)
    values *= np.float32(gain / _DENOMINATORS[component])
    values += np.float32(offset + 0.5)
    if offset:  # only chroma can overshoot: +0.5 of full scale rounds to peak + 1
        np.minimum(values, np.float32(peak), out=values)
    return values


def planes_to_rgb(planes: Planes, depth: int, conversion: str = "rounding") -> RGB:
    """RGB image of Y'CbCr planes; 4:2:0 is recognised by the size of Cb.

    Args:
        planes: Y', Cb, Cr as :func:`rgb_to_planes` returns them.
        depth: bits per sample of the planes.
        conversion: ``"rounding"`` or ``"compressai-compat"``.

    Returns:
        uint8, (H, W, 3).
    """
    if conversion == "compressai-compat":
        return _compat_rgb(planes)
    y, cb, cr = planes
    height, width = y.shape
    step = 1 if cb.shape == y.shape else 2
    scale = 255 / ((1 << depth) - 1)
    zero = np.float32(1 << (depth - 1))
    rgb = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _ROWS):
        rows = slice(top // step, (top + _ROWS) // step)
        blue = cb[rows].astype(np.float32)
        blue -= zero
        red = cr[rows].astype(np.float32)
        red -= zero
        luma = y[top : top + _ROWS].astype(np.float32)
        luma *= np.float32(scale)
        luma += np.float32(0.5)
        difference = (
            red * np.float32(2 * (1 - KR) * scale),
            blue * np.float32(-2 * (1 - KB) * KB / KG * scale)
            + red * np.float32(-2 * (1 - KR) * KR / KG * scale),
            blue * np.float32(2 * (1 - KB) * scale),
        )
        for channel, chroma in enumerate(difference):
            values = luma.reshape(-1, step, width) + _widen(chroma, step)[:, None, :]
            np.clip(values, 0, 255, out=values)
            rgb[top : top + _ROWS, :, channel] = values.reshape(-1, width)
    return rgb


def _widen(plane: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Each column twice for 4:2:0 (two strided copies are faster than np.repeat)."""
    if step == 1:
        return plane
    wide = np.empty((plane.shape[0], 2 * plane.shape[1]), np.float32)
    wide[:, 0::2] = plane
    wide[:, 1::2] = plane
    return wide


def _compat_planes(rgb: RGB) -> Planes:
    """8-bit 4:4:4 with truncation, step for step in float32 as CompressAI's bench computes it."""
    r, g, b = np.moveaxis(rgb.astype(np.float32) / np.float32(255), -1, 0)
    y = np.float32(KR) * r + np.float32(KG) * g + np.float32(KB) * b
    cb = np.float32(0.5) * (b - y) / np.float32(1 - KB) + np.float32(0.5)
    cr = np.float32(0.5) * (r - y) / np.float32(1 - KR) + np.float32(0.5)
    y, cb, cr = ((np.clip(p, 0, 1) * np.float32(255)).astype(np.uint8) for p in (y, cb, cr))
    return y, cb, cr


def _compat_rgb(planes: Planes) -> RGB:
    """Inverse of :func:`_compat_planes`, truncating again."""
    y, cb, cr = (plane.astype(np.float32) / np.float32(255) for plane in planes)
    half = np.float32(0.5)
    r = y + np.float32(2 - 2 * KR) * (cr - half)
    b = y + np.float32(2 - 2 * KB) * (cb - half)
    g = (y - np.float32(KR) * r - np.float32(KB) * b) / np.float32(KG)
    rgb = np.clip(np.stack((r, g, b), axis=-1), 0, 1) * np.float32(255)
    truncated: RGB = rgb.astype(np.uint8)
    return truncated
