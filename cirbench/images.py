"""Read one HQ image: any accepted file becomes uint8 RGB pixels, anything else one clear refusal.

The policy is the table in ``docs/input.md``. The file is read from disk once and decoded once, by
imagecodecs (libpng, libjpeg-turbo, libwebp, libtiff); BMP by Pillow.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL.BmpImagePlugin import BmpImageFile

from . import headers, png, tiff
from .codecs.base import RGB
from .errors import InputError
from .headers import Header
from .limits import MAX_PIXELS
from .tiff import Refused

MAX_BYTES = 2**31
"""Largest file that is read: 2 GiB."""


@dataclass(frozen=True)
class HQImage:
    """A decoded HQ image.

    Attributes:
        rgb: uint8, (H, W, 3), C-contiguous, orientation applied.
        source_mode: what the file held: "RGB", "L", "1", "P", "RGBA", "LA", "YCbCr" (TIFF), with
            the depth behind it when not 8 bit ("RGB;16", "L;16", "L;4").
        notes: what the policy did to it beyond plain decoding, in words.
    """

    rgb: RGB
    source_mode: str
    notes: tuple[str, ...] = ()


Pixels = NDArray[Any]  # uint8 or uint16; (H, W) or (H, W, 1 to 4)
Decoded = tuple[Pixels, str]  # with the mode


def read(file: Path) -> HQImage:
    """Read and decode ``file``, recognised by its content whatever it is called.

    Raises InputError, one sentence with the file's name, for everything that is not a complete
    still image of the accepted kinds; no decoder's own exception gets out.
    """
    try:
        return decode(_bytes(file))
    except Refused as refusal:
        raise InputError(f"{file.name} {refusal}") from refusal.__cause__


def decode(data: bytes) -> HQImage:
    """Decode one file's bytes. Raises Refused."""
    header, decoder = _recognise(data)
    if not (header.width and header.height):
        raise Refused("has no pixels: its width or height is 0")
    if header.width * header.height > MAX_PIXELS:
        raise Refused(
            f"says it is {header.width}x{header.height}, more than the {MAX_PIXELS} pixels "
            "cirbench reads; cut it into smaller images"
        )
    try:
        pixels, mode = decoder()
    except MemoryError:  # says nothing about the file
        raise
    except Exception as error:  # whatever a third-party decoder throws at damaged bytes
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise Refused(f"is damaged or truncated and cannot be decoded ({reason})") from error
    if pixels.shape[:2] != (header.height, header.width):
        raise Refused("is damaged: its header and its pixels disagree about the size")

    notes = []
    if header.icc:
        notes.append("ICC profile ignored")
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        if pixels[..., -1].min() != np.iinfo(pixels.dtype).max:
            raise Refused("has transparent pixels, and no background is the right one; flatten it")
        notes.append("opaque alpha dropped")
        pixels = pixels[..., :-1]
    if pixels.dtype == np.uint16:
        pixels = np.take(_TO_8_BIT, pixels)
    if header.orientation > 1:
        notes.append(f"EXIF orientation {header.orientation} applied")
        pixels = _upright(pixels, header.orientation)
    elif header.orientation == 0:
        notes.append("unreadable EXIF orientation ignored")
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        pixels = np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    return HQImage(np.ascontiguousarray(pixels), mode, tuple(notes))


# round(v / 257), which maps 0..65535 onto 0..255 with equal weight; never a tie, 257 being odd.
_TO_8_BIT = ((np.arange(65536, dtype=np.uint32) + 128) // 257).astype(np.uint8)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn stored pixels the right way up (EXIF 2.32, tag 274)."""
    if orientation >= 5:  # rows and columns change places
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _bytes(file: Path) -> bytes:
    try:
        status = os.stat(file)
        if not stat.S_ISREG(status.st_mode):
            raise Refused("is not a regular file")
        if status.st_size > MAX_BYTES:
            raise Refused("is larger than 2 GiB; cut it into smaller images")
        if status.st_size == 0:
            raise Refused("is empty")
        return file.read_bytes()
    except OSError as error:
        raise Refused(f"cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in its name
        raise Refused(f"cannot be read: {error}") from error


def _recognise(data: bytes) -> tuple[Header, Callable[[], Decoded]]:
    """The header, and what decodes the pixels behind it. Raises Refused."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            header, coded = headers.png(data)
            return header, lambda: (png.decode(coded), header.mode)
        if data.startswith(b"\xff\xd8\xff"):
            header = headers.jpeg(data)
            return header, lambda: (imagecodecs.jpeg8_decode(data), header.mode)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return headers.webp(data), lambda: _webp(data)
        if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
            facts = tiff.header(data)
            header = Header(facts.width, facts.height, facts.mode, facts.orientation, facts.icc)
            return header, lambda: (tiff.decode(data, facts), facts.mode)
        if data.startswith(b"BM"):
            return headers.bmp(data), lambda: _bmp(data)
    except (struct.error, IndexError) as error:
        raise Refused("is truncated or damaged: its header is not complete") from error
    raise Refused("is not a PNG, JPEG, BMP, TIFF or WebP image")


def _webp(data: bytes) -> Decoded:
    pixels = imagecodecs.webp_decode(data)
    return pixels, "RGBA" if pixels.shape[2] == 4 else "RGB"


def _bmp(data: bytes) -> Decoded:
    with BmpImageFile(BytesIO(data)) as image:
        mode = image.mode
        # "1" and "P" hold no pixel values; the other modes are their own.
        return np.asarray(image.convert({"1": "L", "P": "RGB"}.get(mode, mode))), mode
