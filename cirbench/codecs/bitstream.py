"""What a bitstream says about itself: the level it was really coded at.

Levels are proved from the coded bytes, never from a command line: the obvious ffmpeg commands are
off by three QP. AVC, HEVC and VVC headers are read by FFmpeg's ``trace_headers`` filter inside
this process; JPEG and WebP need a few lines of their own.
"""

from __future__ import annotations

import re
import struct
import threading
from collections.abc import Callable
from functools import cache

import av
import av.bitstream
import av.error
import av.logging
import numpy as np

from ..errors import CodecError
from ..headers import Header
from ..tiff import Refused

FFMPEG_NAMES = {"avc": "h264", "hevc": "hevc", "vvc": "vvc"}
"""FFmpeg's name of each video codec: decoder, elementary stream format and parser."""

_FIELD = re.compile(r"(\w*(?:init_qp_minus26|qp_delta))\s+[01]+ = (-?\d+)$")
_QP_FIELDS = frozenset(
    (
        *("pic_init_qp_minus26", "init_qp_minus26", "pps_init_qp_minus26"),
        *("slice_qp_delta", "ph_qp_delta", "sh_qp_delta"),
    )
)
_TRACE_LOCK = threading.Lock()


def needs_size(
    decoder: str, read: Callable[[bytes], Header], bitstream: bytes, size: tuple[int, int]
) -> None:
    """Compare what the header of an image file says with ``size`` (H, W), before it is decoded.

    Raises CodecError for another size, or a header that ``read`` (of :mod:`cirbench.headers`)
    refuses.
    """
    try:
        header = read(bitstream)
    except (Refused, struct.error, IndexError) as error:
        why = str(error) if isinstance(error, Refused) else "has an incomplete header"
        raise CodecError(f"{decoder} cannot decode this bitstream: it {why}") from error
    if (header.height, header.width) != size:
        raise CodecError(
            f"this bitstream is of {header.width}x{header.height} pixels, not {size[1]}x{size[0]}"
        )


def slice_qp(codec: str, bitstream: bytes) -> int:
    """Luma QP of the slices of an ``avc``, ``hevc`` or ``vvc`` elementary stream.

    26 + init_qp_minus26 (PPS) + the QP delta of the slice or, in VVC, of the picture header
    (H.264 7.4.3, H.265 7.4.7.1, H.266 7.4.3.8 and 7.4.8). Raises CodecError when the headers
    cannot be read or the slices disagree.
    """
    base, deltas = 0, []
    for name, value in _qp_fields(codec, bitstream):
        if name.endswith("init_qp_minus26"):
            base = 26 + value
        else:
            deltas.append(base + value)
    if len(set(deltas)) != 1:
        found = sorted(set(deltas))[:8]
        raise CodecError(f"this {codec} bitstream has no single slice QP (found {found})")
    return deltas[0]


def _qp_fields(codec: str, bitstream: bytes) -> list[tuple[str, int]]:
    """(syntax element, value) of every QP field in the headers, in bitstream order."""
    # FFmpeg reports headers through its log, whose level is global to the process.
    with _TRACE_LOCK:
        before, repeats = av.logging.get_level(), av.logging.get_skip_repeated()
        av.logging.set_level(av.logging.INFO)
        av.logging.set_skip_repeated(False)
        try:
            with av.logging.Capture(local=True) as lines:
                trace = av.bitstream.BitStreamFilterContext("trace_headers", FFMPEG_NAMES[codec])
                trace.filter(av.Packet(bitstream))
        except av.error.FFmpegError as error:
            raise CodecError(f"cannot read the headers of this {codec} bitstream") from error
        finally:
            av.logging.set_level(before)
            av.logging.set_skip_repeated(repeats)
    matches = (_FIELD.search(line.strip()) for _, _, line in lines)
    # cu_qp_delta and friends are flags about smaller units than the slice.
    return [(m[1], int(m[2])) for m in matches if m and m[1] in _QP_FIELDS]


# ITU-T T.81 Annex K, tables K.1 and K.2, in zigzag order as a DQT segment stores them.
# fmt: off
_LUMA = (16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49,
         35, 37, 29, 40, 58, 51, 61, 60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56,
         80, 109, 81, 87, 95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99)
_CHROMA = (17, 18, 18, 24, 21, 24, 47, 26, 26, 47, 99, 66, 56, 66) + (99,) * 50
# fmt: on


@cache
def _libjpeg_tables(quality: int) -> tuple[bytes, bytes]:
    """libjpeg's luma and chroma tables at ``quality``, limited to 255 as baseline JPEG needs."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    luma, chroma = (np.clip((np.array(t) * scale + 50) // 100, 1, 255) for t in (_LUMA, _CHROMA))
    return luma.astype(np.uint8).tobytes(), chroma.astype(np.uint8).tobytes()


def jpeg_quality(bitstream: bytes) -> int:
    """libjpeg quality (1..100) whose tables this JPEG carries.

    Raises CodecError when the tables are not libjpeg's or are missing.
    """
    tables = _jpeg_tables(bitstream)
    for quality in range(1, 101):
        if tables == _libjpeg_tables(quality):
            return quality
    raise CodecError("the quantisation tables of this JPEG belong to no libjpeg quality")


def _jpeg_tables(bitstream: bytes) -> tuple[bytes, ...]:
    """The 8-bit quantisation tables of all DQT segments (T.81 B.2.4.1), by table number."""
    tables: dict[int, bytes] = {}
    position = 2
    while position + 4 <= len(bitstream) and bitstream[position] == 0xFF:
        marker = bitstream[position + 1]
        length = int.from_bytes(bitstream[position + 2 : position + 4], "big")
        if marker == 0xDA or length < 2:
            break
        if marker == 0xDB:
            segment = bitstream[position + 4 : position + 2 + length]
            while len(segment) >= 65 and segment[0] >> 4 == 0:
                tables[segment[0] & 15] = segment[1:65]
                segment = segment[65:]
        position += 2 + length
    return tuple(tables[number] for number in sorted(tables))


def webp_is_lossy(bitstream: bytes) -> bool:
    """True for a RIFF WebP whose image chunk is VP8 (lossy), not VP8L."""
    position = 12
    if bitstream[:4] != b"RIFF" or bitstream[8:12] != b"WEBP":
        return False
    while position + 8 <= len(bitstream):
        chunk = bitstream[position : position + 4]
        if chunk in (b"VP8 ", b"VP8L"):
            return chunk == b"VP8 "
        size = int.from_bytes(bitstream[position + 4 : position + 8], "little")
        position += 8 + size + size % 2
    return False
