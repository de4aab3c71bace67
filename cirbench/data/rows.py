"""The top of a picture, decoded without the rest: PNG, JPEG and lossy WebP.

All three code their rows from the top down and say their height in the header. With a smaller
height in there a decoder does only that much work, and the rows it gives are those of the whole
picture as long as nothing below them has a say in them: chroma up-sampling and the loop filter look
a few rows ahead, hence ``_MARGIN``. Whatever cannot be cut that way gives None: decode it whole.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from .. import tiff

_MARGIN = 32
"""Rows below the wanted ones that are decoded too: two rows of 16x16 blocks.

T.81 A.2 (a block row of 4:2:0 is 16 rows, up-sampling looks one row ahead); RFC 6386 section 15
(the loop filter changes up to 3 luma and 3 chroma rows above a block's edge).
"""


def top_rows(data: bytes, rows: int) -> NDArray[np.uint8] | None:
    """The first ``rows`` rows of a coded RGB picture: uint8 (rows, W, 3), bit for bit.

    None when the file is of another kind (grey, 16-bit, palette, transparent, interlaced,
    progressive, lossless WebP, rotated by EXIF, ...), when so little is left out that it is not
    worth it, or when its data is damaged. Nothing below ``rows`` is checked.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        cut, decode = _png(data, rows), imagecodecs.spng_decode
    elif data.startswith(b"\xff\xd8\xff"):
        cut, decode = _jpeg(data, rows + _MARGIN), imagecodecs.jpeg8_decode
    elif data.startswith(b"RIFF") and data[8:16] == b"WEBPVP8 ":
        cut, decode = _webp(data, rows + _MARGIN), imagecodecs.webp_decode
    else:
        return None
    pixels = None if cut is None else _decoded(decode, cut)
    if pixels is None or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        return None
    top: NDArray[np.uint8] = pixels[:rows]
    return top if len(top) == rows else None


def _decoded(decode: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return decode(data)
    except Exception:  # a damaged file: decoded whole, it gets its proper error
        return None


def _png(data: bytes, rows: int) -> bytes | None:
    """ISO/IEC 15948: IHDR with a smaller height, then the IDAT chunks. 8-bit RGB only.

    For libspng: it inflates row by row, where libpng reads on to the end and complains.
    """
    if not imagecodecs.SPNG.available or data[12:16] != b"IHDR":
        return None
    if data[24:26] != b"\x08\x02" or data[28] or rows >= int.from_bytes(data[20:24], "big"):
        return None
    header = data[12:20] + rows.to_bytes(4, "big") + data[24:29]
    view = memoryview(data)
    kept: list[bytes | memoryview] = [view[:12], header, zlib.crc32(header).to_bytes(4, "big")]
    at, kind = 33, b""
    while kind != b"IEND":
        end = at + 12 + int.from_bytes(view[at : at + 4], "big")
        kind = bytes(view[at + 4 : at + 8])
        if end > len(data) or kind in (b"tRNS", b"acTL"):
            return None
        if kind == b"eXIf" and tiff.orientation(bytes(view[at + 8 : end - 4])) > 1:
            return None
        if kind in (b"IDAT", b"IEND"):
            kept.append(view[at:end])
        at = end
    return b"".join(kept)


def _jpeg(data: bytes, rows: int) -> bytes | None:
    """T.81 B.2.2: another number of lines in the frame header. Baseline, RGB in one scan only."""
    at, frame = 2, 0
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker, end = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in (0xC0, 0xC1):
            frame = at + 4
            if data[frame] != 8 or data[frame + 5] != 3:
                return None
            if any(data[frame + 7 + 3 * i] & 15 > 2 for i in range(3)):  # blocks of over 16 rows
                return None
        elif marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            if tiff.orientation(data[at + 10 : end]) > 1:
                return None
        elif marker == 0xDA:
            if not frame or data[at + 4] != 3:
                return None
            if rows >= int.from_bytes(data[frame + 1 : frame + 3], "big"):
                return None
            return data[: frame + 1] + rows.to_bytes(2, "big") + data[frame + 3 :]
        elif marker not in (0xC4, 0xDB, 0xDD, 0xFE) and not 0xE0 <= marker <= 0xEF:
            return None
        at = end
    return None


def _webp(data: bytes, rows: int) -> bytes | None:
    """RFC 6386 9.1: another height in the header of the key frame. Simple lossy files only."""
    if data[23:26] != b"\x9d\x01\x2a":
        return None
    height = int.from_bytes(data[28:30], "little")
    if rows >= height & 0x3FFF:
        return None
    return data[:28] + (rows | height & 0xC000).to_bytes(2, "little") + data[30:]
