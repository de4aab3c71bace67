"""Lossy WebP through libwebp (imagecodecs), in memory; equal to Pillow's ``save(quality=q)``."""

from __future__ import annotations

import imagecodecs

from .. import headers
from ..errors import CodecError
from .base import RGB, Encoded, Probe, Settings
from .bitstream import needs_size, webp_is_lossy


def encode(rgb: RGB, level: int | str, settings: Settings) -> Encoded:
    """VP8 key frame at quality ``level`` (0..100); preset ``m4`` is libwebp's ``method=4``."""
    method = int(settings["preset"].removeprefix("m"))
    # Without lossless=False imagecodecs writes lossless WebP, whatever the level.
    try:
        data = imagecodecs.webp_encode(rgb, level=int(level), lossless=False, method=method)
    except (imagecodecs.WebpError, ValueError) as error:  # more than 16,383 pixels wide or high
        raise CodecError(f"libwebp cannot code {rgb.shape[1]}x{rgb.shape[0]} ({error})") from error
    return Encoded(bytes(data), f"quality={level} method={method}")


def decode(bitstream: bytes, size: tuple[int, int], settings: Settings) -> RGB:
    """Pixels of a WebP file, with libwebp's default (fancy) chroma up-sampling."""
    needs_size("libwebp", headers.webp, bitstream, size)
    try:
        rgb: RGB = imagecodecs.webp_decode(bitstream, hasalpha=False)
    except (imagecodecs.WebpError, ValueError) as error:
        raise CodecError(f"libwebp cannot decode this WebP ({error})") from error
    return rgb


def level_of(bitstream: bytes, settings: Settings) -> None:
    """WebP does not hold its quality, only that it is lossy. Raises CodecError when it is not."""
    if not webp_is_lossy(bitstream):
        raise CodecError("this is not a lossy WebP bitstream")


def probe(settings: Settings) -> Probe:
    """libwebp comes inside imagecodecs: always there."""
    version = f"{imagecodecs.webp_version()} (imagecodecs {imagecodecs.__version__})"
    return Probe(True, version, version)
