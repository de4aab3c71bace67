"""What an image file's own header says, read before a single pixel is decoded.

Decoders are trusted with pixels only: what decides whether a file is used at all (size, colour
model, animation, completeness, orientation, colour profile) is read here from the bytes, by the
formats' specifications. libjpeg, for one, fills the missing half of a cut JPEG with grey.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from . import tiff
from .limits import MAX_SCANS
from .tiff import Refused

_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # not stuffing, RSTn or fill
_JPEG_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True)
class Header:
    """Facts about one file.

    Attributes:
        width, height: of the coded pixels, before the orientation is applied.
        mode: colour model and, when not 8 bit, depth, in Pillow's words ("RGB", "L;16", "P").
            Empty where only decoding tells (WebP's alpha).
        orientation: EXIF orientation, 1 to 8; 0 when an EXIF block is there but cannot be read.
        icc: an ICC profile is embedded.
    """

    width: int
    height: int
    mode: str
    orientation: int = 1
    icc: bool = False


def png(data: bytes) -> tuple[Header, bytes]:
    """Walk the chunks of a PNG (ISO/IEC 15948): its facts, and the PNG without side information.

    libpng, given the side chunks too, prints warnings about colour profiles on stderr. Every
    chunk's CRC is checked here: libpng drops a damaged tRNS in silence.
    Raises Refused, struct.error or IndexError.
    """
    header: tuple[int, ...] | None = None
    orientation, icc = 1, False
    view = memoryview(data)
    kept = [view[:8]]
    at, kind = 8, b""
    while kind != b"IEND":
        end = at + 12 + int.from_bytes(view[at : at + 4], "big")
        kind = bytes(view[at + 4 : at + 8])
        if at + 12 > len(data) or end > len(data):
            raise Refused("is truncated: its PNG data ends before the IEND chunk")
        body = view[at + 8 : end - 4]
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise Refused("is damaged: a PNG chunk's checksum is wrong")
        if kind == b"IHDR":
            header = header or struct.unpack(">IIBBBBB", body)
        elif kind == b"acTL":
            raise Refused("is an animated PNG; give one still image per file")
        elif kind == b"eXIf":
            orientation = tiff.orientation(bytes(body))
        elif kind == b"iCCP":
            icc = True
        if kind[:1].isupper() or kind == b"tRNS":  # what the pixels depend on
            kept.append(view[at:end])
        at = end
    if header is None:
        raise Refused("is damaged: its PNG data has no IHDR chunk")
    width, height, depth, colour = header[:4]
    if colour not in _PNG_MODES:
        raise Refused(f"is damaged: PNG colour type {colour} does not exist")
    mode = _PNG_MODES[colour]
    if mode == "L" and depth == 1:
        mode = "1"
    elif mode != "P" and depth != 8:
        mode += f";{depth}"
    whole = sum(map(len, kept)) == len(data)
    return Header(width, height, mode, orientation, icc), data if whole else b"".join(kept)


def jpeg(data: bytes) -> Header:
    """Walk the markers of a JPEG (ITU-T T.81 Annex B) up to EOI. Raises Refused.

    A JPEG without an end-of-image marker is truncated; one whose coded data was damaged but is
    still closed by a marker cannot be told from a sound one (JPEG has no checksum).
    """
    frame: tuple[int, int, int, int] | None = None
    orientation, icc, scans = 1, False, 0
    at = 2
    while True:
        while data[at : at + 2] == b"\xff\xff":  # fill bytes before a marker
            at += 1
        if at + 2 > len(data):
            raise Refused("is truncated: its JPEG data ends before the end-of-image marker")
        if data[at] != 0xFF:
            raise Refused("is damaged: no JPEG marker where one has to be")
        marker = data[at + 1]
        at += 2
        if marker == 0xD9:
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a segment
            continue
        end = at + int.from_bytes(data[at : at + 2], "big")
        if end < at + 2 or end > len(data):
            raise Refused("is truncated: its JPEG data ends inside a header")
        body = data[at + 2 : end]
        if marker in _JPEG_SOF and frame is None:
            precision, height, width, components = struct.unpack(">BHHB", body[:6])
            frame = (precision, height, width, components)
        elif marker == 0xE1 and body.startswith(b"Exif\0\0") and orientation == 1:
            orientation = tiff.orientation(body[6:])
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
            icc = True
        elif marker == 0xDA:
            scans += 1
            if scans > MAX_SCANS:
                raise Refused(f"is a JPEG of more than {MAX_SCANS} scans; save it anew")
            found = _JPEG_MARKER.search(data, end)
            end = found.start() if found else len(data)
        at = end
    if frame is None:
        raise Refused("is damaged: its JPEG data holds no frame")
    precision, height, width, components = frame
    if precision != 8:
        raise Refused(f"is a {precision}-bit JPEG, which is not supported; convert it to PNG")
    if components == 4:
        raise Refused("is a CMYK or YCCK JPEG; convert it to RGB first")
    if components not in (1, 3):
        raise Refused(f"is a JPEG of {components} components; convert it to RGB first")
    return Header(width, height, "L" if components == 1 else "RGB", orientation, icc)


def webp(data: bytes) -> Header:
    """Walk the chunks of a WebP (RFC 9649). Raises Refused, struct.error or IndexError."""
    stop = 8 + int.from_bytes(data[4:8], "little")
    if stop > len(data):
        raise Refused("is truncated: its WebP data is shorter than its header says")
    size: tuple[int, int] | None = None
    orientation, icc = 1, False
    at = 12
    while at + 8 <= stop:
        kind = data[at : at + 4]
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > stop:
            raise Refused("is truncated: its WebP data ends inside a chunk")
        body = memoryview(data)[at + 8 : at + 8 + length]
        if kind == b"VP8X":
            if body[0] & 0x02:
                raise Refused("is an animated WebP; give one still image per file")
            width = int.from_bytes(body[4:7], "little") + 1
            size = size or (width, int.from_bytes(body[7:10], "little") + 1)
        elif kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", body, 6)
            size = size or (width & 0x3FFF, height & 0x3FFF)
        elif kind == b"VP8L":
            (bits,) = struct.unpack_from("<I", body, 1)
            size = size or ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        elif kind == b"ICCP":
            icc = True
        elif kind == b"EXIF":
            orientation = tiff.orientation(bytes(body).removeprefix(b"Exif\0\0"))
        at += 8 + length + (length & 1)
    if size is None:
        raise Refused("is damaged: its WebP data holds no image")
    return Header(*size, "", orientation, icc)


def bmp(data: bytes) -> Header:
    """Size and profile from a BMP's information header. Raises Refused or struct.error."""
    (kind,) = struct.unpack_from("<I", data, 14)
    if kind == 12:  # OS/2 1.x
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    # BITMAPV5HEADER's colour space: PROFILE_EMBEDDED or PROFILE_LINKED.
    icc = kind == 124 and data[70:74] in (b"DEBM", b"KNIL")
    if width < 0:
        raise Refused("is damaged: its BMP width is negative")
    return Header(width, abs(height), "", 1, icc)
