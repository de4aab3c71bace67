"""Lossy WebP through libwebp (imagecodecs), in memory; equal to Pillow's ``save(quality=q)``."""

from __future__ import annotations

import imagecodecs

from ..errors import CodecError
from .base import RGB, Encoded, Probe, Settings


def encode(rgb: RGB, level: int | str, settings: Settings) -> Encoded:
    """VP8 key frame at quality ``level`` (0..100); preset ``m4`` is libwebp's ``method=4``."""
    method = int(settings["preset"].removeprefix("m"))
    # Without lossless=False imagecodecs writes lossless WebP, whatever the level.
    data = imagecodecs.webp_encode(rgb, level=int(level), lossless=False, method=method)
    return Encoded(bytes(data), f"quality={level} method={method}")


def decode(bitstream: bytes, size: tuple[int, int], settings: Settings) -> RGB:
    """Pixels of a WebP file, with libwebp's default (fancy) chroma up-sampling."""
    try:
        rgb: RGB = imagecodecs.webp_decode(bitstream, hasalpha=False)
    except (imagecodecs.WebpError, ValueError) as error:
        raise CodecError(f"libwebp cannot decode this WebP ({error})") from error
    return rgb


def probe(settings: Settings) -> Probe:
    """libwebp comes inside imagecodecs: always there."""
    version = f"{imagecodecs.webp_version()} (imagecodecs {imagecodecs.__version__})"
    return Probe(True, version, version)
