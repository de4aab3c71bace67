"""TIFF: the tags that decide whether and how a file is decoded, and its pixels.

EXIF blocks are small TIFF files, so the orientation of every format is read here too.
Tag numbers and values are those of the TIFF 6.0 specification.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import imagecodecs
import numpy as np
from numpy.typing import NDArray

_TYPE_SIZES = dict(
    zip(range(1, 19), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8), strict=True)
)
_WHOLE = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}  # BYTE, SHORT, LONG, IFD, LONG8
_ORIENTATION = 274
_LARGE_TILE = 4096 * 4096
_WANTED = frozenset(
    {256, 257, 258, 262, 273, 277, 279, 284, 322, 323, 324, 325, 339, _ORIENTATION}
)  # size, depth, colour model, strips, samples, planes, tile size, tiles, sample format
_PHOTOMETRIC = {0: "L", 1: "L", 2: "RGB", 3: "P", 6: "YCbCr"}
# The flip by which libtiff's expansion to RGBA has begun to apply the orientation; undone here.
_LEFT, _UP = (slice(None), slice(None, None, -1)), (slice(None, None, -1),)
_BOTH = (slice(None, None, -1), slice(None, None, -1))
_FLIPS = {2: _LEFT, 6: _LEFT, 3: _BOTH, 7: _BOTH, 4: _UP, 8: _UP}
_REFUSED = {4: "a mask", 5: "CMYK", 8: "CIE L*a*b*", 9: "ICC L*a*b*", 10: "ITU L*a*b*"}


class Refused(Exception):
    """Why a file is not used, written to follow its name: "is truncated: ..."."""


@dataclass(frozen=True)
class Tiff:
    """What the first directory of a TIFF says; sizes are before the orientation is applied."""

    width: int
    height: int
    mode: str
    photometric: int
    planar: bool
    orientation: int
    icc: bool


def _directory(
    data: bytes, wanted: frozenset[int], whole: bool
) -> tuple[dict[int, tuple[int, ...]], str, int]:
    """Tags of the first directory, and the layout and place of the next one's offset.

    Only ``wanted`` tags of a whole-number type carry their values, others an empty tuple; the
    values of all others need only be there when the ``whole`` directory has to be.
    Raises struct.error or OverflowError on nonsense.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise struct.error("no byte order")
    (version,) = struct.unpack_from(order + "H", data, 2)
    if version not in (42, 43):
        raise struct.error("no TIFF version")
    big = version == 43
    counter, word, step = ("Q", "Q", 20) if big else ("H", "I", 12)
    inline = struct.calcsize(order + word)
    (at,) = struct.unpack_from(order + word, data, 8 if big else 4)
    (entries,) = struct.unpack_from(order + counter, data, at)
    at += struct.calcsize(order + counter)
    if entries * step > len(data):
        raise struct.error("directory larger than the file")
    tags: dict[int, tuple[int, ...]] = {}
    for entry in range(at, at + entries * step, step):
        tag, kind, count = struct.unpack_from(order + "HH" + word, data, entry)
        if tag in tags:  # the first one counts; a million of them would take for ever to read
            continue
        where = entry + 4 + inline
        size = count * _TYPE_SIZES.get(kind, 0)
        if size > inline:
            (where,) = struct.unpack_from(order + word, data, where)
        if whole and where + size > len(data):
            raise struct.error("values beyond the end")
        values: tuple[int, ...] = ()
        if tag in wanted and kind in _WHOLE:
            values = struct.unpack_from(f"{order}{count}{_WHOLE[kind]}", data, where)
        tags[tag] = values
    return tags, order + word, at + entries * step


def _orientation(tags: Mapping[int, tuple[int, ...]]) -> int:
    values = tags.get(_ORIENTATION, (1,))
    return values[0] if values and 1 <= values[0] <= 8 else 0


def orientation(exif: bytes) -> int:
    """The orientation in an EXIF block: 1 to 8, 1 where it says none, 0 where it is nonsense."""
    try:
        tags, _, _ = _directory(exif, frozenset({_ORIENTATION}), whole=False)
    except (struct.error, OverflowError):
        return 0
    return _orientation(tags)


def header(data: bytes) -> Tiff:
    """Read and judge the tags of a TIFF or BigTIFF. Raises Refused.

    Refused here: several pages, float and signed samples, unusual depths, CMYK and L*a*b*, more
    than one extra channel, and strips or tiles that reach beyond the end of the file (libtiff
    fills those of a JPEG-compressed one with grey).
    """
    try:
        tags, word, at = _directory(data, _WANTED, whole=True)
        (following,) = struct.unpack_from(word, data, at)
    except (struct.error, OverflowError):
        raise Refused("is truncated or damaged: its TIFF directory cannot be read") from None
    if following:
        raise Refused("is a TIFF of several pages; save each page as its own file")

    def first(tag: int, default: int) -> int:
        return (tags.get(tag) or (default,))[0]

    samples = first(277, 1)
    photometric = first(262, 1)
    depths = set(tags.get(258) or (1,))
    if set(tags.get(339) or (1,)) - {1, 4}:
        raise Refused("is a TIFF of floating-point or signed samples; convert it to 8 or 16 bit")
    if photometric not in _PHOTOMETRIC:
        kind = _REFUSED.get(photometric, f"colour model {photometric}")
        raise Refused(f"is a TIFF in {kind}; convert it to RGB first")
    mode = _PHOTOMETRIC[photometric]
    low = mode in ("L", "P") and samples == 1
    if len(depths) != 1 or not depths <= ({1, 2, 4, 8, 16} if low else {8, 16}):
        bits = "/".join(map(str, sorted(depths)))
        raise Refused(f"is a TIFF of {bits} bits per sample; convert it to 8 or 16 bit")
    depth = depths.pop()
    if mode in ("P", "YCbCr") and depth == 16:
        raise Refused(f"is a 16-bit {mode} TIFF; convert it to RGB first")
    extra = samples - (3 if mode in ("RGB", "YCbCr") else 1)
    if extra not in (0, 1) or (extra and mode in ("P", "YCbCr")):
        raise Refused(f"is a TIFF of {samples} channels; convert it to RGB first")

    tiled = 324 in tags
    offsets = tags.get(324 if tiled else 273, ())
    sizes = tags.get(325 if tiled else 279, ())
    if not offsets or len(offsets) != len(sizes):
        raise Refused("is damaged: its TIFF directory does not say where the pixels are")
    if any(not n or at + n > len(data) for at, n in zip(offsets, sizes, strict=True)):
        raise Refused("is truncated: its TIFF pixel data is not all there")

    width, height = first(256, 0), first(257, 0)
    # A decoder makes room for a whole tile, however small the picture in it.
    if tiled and first(322, 0) * first(323, 0) > max(_LARGE_TILE, 4 * width * height):
        raise Refused(f"is damaged: its tiles are {first(322, 0)}x{first(323, 0)} pixels")

    if mode == "L" and depth == 1:
        mode = "1"
    else:
        mode += "A" * extra + (f";{depth}" if mode != "P" and depth != 8 else "")
    return Tiff(
        width=width,
        height=height,
        mode=mode,
        photometric=photometric,
        planar=first(284, 1) == 2 and samples > 1,
        orientation=_orientation(tags),
        icc=34675 in tags,
    )


def decode(data: bytes, facts: Tiff) -> NDArray[np.uint8 | np.uint16]:
    """Pixels of a TIFF that ``header`` accepted: (H, W) or (H, W, channels), uint8 or uint16.

    Raises whatever libtiff's wrapper raises for damaged data.
    """
    if facts.mode in ("1", "L;2", "L;4", "P", "YCbCr"):
        # libtiff's own expansion to RGBA; none of these modes carries an alpha channel.
        pixels = imagecodecs.tiff_decode(data, asrgb=True)[..., :3]
        return pixels[_FLIPS.get(facts.orientation, ...)]
    pixels = imagecodecs.tiff_decode(data)
    if facts.planar:
        pixels = np.moveaxis(pixels, 0, -1)
    if facts.photometric == 0:  # white is zero
        grey = pixels if pixels.ndim == 2 else pixels[..., 0]
        np.subtract(np.iinfo(pixels.dtype).max, grey, out=grey)
    return pixels
