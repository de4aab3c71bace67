"""JPEG through libjpeg-turbo (imagecodecs), in memory; equal to Pillow's ``save(quality=q)``."""

from __future__ import annotations

import imagecodecs

from ..errors import CodecError
from .base import RGB, Encoded, Probe, Settings


def encode(rgb: RGB, level: int | str, settings: Settings) -> Encoded:
    """Baseline JPEG at quality ``level`` (1..100), chroma 4:2:0 or 4:4:4 as settings say."""
    chroma = settings["chroma"]
    data = imagecodecs.jpeg8_encode(rgb, level=int(level), subsampling=chroma)
    return Encoded(bytes(data), f"quality={level} subsampling={chroma}")


def decode(bitstream: bytes, size: tuple[int, int], settings: Settings) -> RGB:
    """Pixels of a JPEG file, with libjpeg's default IDCT and chroma up-sampling."""
    try:
        rgb: RGB = imagecodecs.jpeg8_decode(bitstream)
    except imagecodecs.Jpeg8Error as error:
        raise CodecError(f"libjpeg cannot decode this JPEG ({error})") from error
    return rgb


def probe(settings: Settings) -> Probe:
    """libjpeg-turbo comes inside imagecodecs: always there."""
    library = imagecodecs.jpeg8_version().split("/")[0].replace("_turbo ", "-turbo ")
    version = f"{library} (imagecodecs {imagecodecs.__version__})"
    return Probe(True, version, version)
