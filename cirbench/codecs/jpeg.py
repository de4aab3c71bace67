"""JPEG through libjpeg-turbo (imagecodecs), in memory; equal to Pillow's ``save(quality=q)``."""

from __future__ import annotations

import imagecodecs

from .. import headers
from ..errors import CodecError
from .base import RGB, Encoded, Probe, Settings
from .bitstream import jpeg_quality, needs_size


def encode(rgb: RGB, level: int | str, settings: Settings) -> Encoded:
    """Baseline JPEG at quality ``level`` (1..100), chroma 4:2:0 or 4:4:4 as settings say."""
    chroma = settings["chroma"]
    try:
        data = imagecodecs.jpeg8_encode(rgb, level=int(level), subsampling=chroma)
    except (imagecodecs.Jpeg8Error, ValueError) as error:  # more than 65,500 pixels wide or high
        raise CodecError(f"libjpeg cannot code {rgb.shape[1]}x{rgb.shape[0]} ({error})") from error
    return Encoded(bytes(data), f"quality={level} subsampling={chroma}")


def decode(bitstream: bytes, size: tuple[int, int], settings: Settings) -> RGB:
    """Pixels of a JPEG file, with libjpeg's default IDCT and chroma up-sampling."""
    needs_size("libjpeg", headers.jpeg, bitstream, size)
    try:
        rgb: RGB = imagecodecs.jpeg8_decode(bitstream)
    except (imagecodecs.Jpeg8Error, ValueError) as error:
        raise CodecError(f"libjpeg cannot decode this JPEG ({error})") from error
    return rgb


def level_of(bitstream: bytes, settings: Settings) -> int:
    """The quality whose quantisation tables the file carries."""
    return jpeg_quality(bitstream)


def probe(settings: Settings) -> Probe:
    """libjpeg-turbo comes inside imagecodecs: always there."""
    library = imagecodecs.jpeg8_version().split("/")[0].replace("_turbo ", "-turbo ")
    version = f"{library} (imagecodecs {imagecodecs.__version__})"
    return Probe(True, version, version)
