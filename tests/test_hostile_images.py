"""Image files made to hurt: bombs, lies about sizes, pieces of one file in another."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_images import PHOTO, VALID, chunk, png, reading, saved

from cirbench.builder import store
from cirbench.errors import InputError
from cirbench.images import read
from cirbench.limits import MAX_SCANS

ALL = [data for data, _ in VALID.values()]


def tiff(*tags: tuple[int, int, int, int], data: bytes = b"") -> bytes:
    """A TIFF of these (tag, type, count, value or offset), and ``data`` behind them."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + data


def tiled(side: int) -> bytes:
    """A 16x16 grey TIFF whose tiles are said to be ``side`` wide and high."""
    pixels = zlib.compress(bytes(256))
    facts = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side}
    facts |= {324: 14 + 12 * 10, 325: len(pixels)}
    return tiff(*((tag, 4, 1, value) for tag, value in facts.items()), data=pixels)


def scans(count: int) -> bytes:
    """A progressive JPEG with its last scan over and over."""
    data = saved(PHOTO, "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * count + data[-2:]


def lying_webp() -> bytes:
    data = bytearray(saved(PHOTO.convert("RGB"), "WEBP", lossless=True, exif=b"Exif\0\0x"))
    assert data[12:16] == b"VP8X"
    data[24:30] = (99_999).to_bytes(3, "little") * 2
    return bytes(data)


def claims(data: bytes, at: int, form: str) -> bytes:
    size = struct.pack(form, *((65_500, 65_500) if "H" in form else (100_000, 100_000)))
    return data[:at] + size + data[at + len(size) :]


JPEG = saved(PHOTO, "JPEG")
BOMBS = {
    "png": (png([b""], (100_000, 100_000), 8, 2), "more than the"),
    "jpeg": (claims(JPEG, JPEG.index(b"\xff\xc0") + 5, ">HH"), "more than the"),
    "bmp": (claims(saved(PHOTO, "BMP"), 18, "<ii"), "more than the"),
    "webp": (lying_webp(), "more than the"),
    "tiff": (
        tiff((256, 4, 1, 10**6), (257, 4, 1, 10**6), (273, 4, 1, 0), (279, 4, 1, 9)),
        "more than the",
    ),
    "tiff tiles": (tiled(60_000), "its tiles are 60000x60000"),
    "tiff of one tag": (tiff(*[(258, 1, 240_000, 8)] * 20_000), "bits per sample"),
    "jpeg scans": (scans(MAX_SCANS), "more than 100 scans"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_before_they_are_decoded(name, tmp_path) -> None:
    data, why = BOMBS[name]
    with pytest.raises(InputError, match=f"^photo.png .*{why}"):
        reading(tmp_path, data)


def test_small_tiles_and_a_dozen_scans_are_fine(tmp_path) -> None:
    assert reading(tmp_path, tiled(16)).rgb.shape == (16, 16, 3)
    assert reading(tmp_path, scans(12)).rgb.shape == (13, 21, 3)


def test_bombs_in_text_and_profile_chunks_are_never_unpacked(tmp_path) -> None:
    bomb = zlib.compress(bytes(1 << 26), 9)
    extra = chunk(b"zTXt", b"Comment\0\0" + bomb) + chunk(b"iCCP", b"p\0\0" + bomb)
    lines = [bytes(3 * 21)] * 13
    image = reading(tmp_path, png(lines, (21, 13), 8, 2, extra=extra))
    assert not image.rgb.any() and image.notes == ("ICC profile ignored",)


def test_stored_pixels_are_limited_too() -> None:
    with pytest.raises(InputError, match="lq.png says it is 100000x100000"):
        store.decode_png(BOMBS["png"][0], "lq.png")


def test_thousands_of_damaged_pngs_do_no_harm_to_the_interpreter() -> None:
    bad = png([b"too short"], (21, 13), 8, 2)
    before = sys.getrefcount(None)
    for _ in range(1000):
        with pytest.raises(InputError):
            store.decode_png(bad, "x")
    assert sys.getrefcount(None) > before - 500


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(ALL), st.sampled_from(ALL), st.data())
def test_pieces_of_one_file_in_another(tmp_path: Path, one: bytes, other: bytes, data) -> None:
    at = data.draw(st.integers(0, len(one)))
    start = data.draw(st.integers(0, len(other)))
    piece = other[start : start + data.draw(st.sampled_from([4, 16, 64, 1000]))]
    skipped = data.draw(st.sampled_from([0, len(piece)]))
    try:
        image = reading(tmp_path, one[:at] + piece + one[at + skipped :])
        assert image.rgb.dtype == np.uint8 and image.rgb.ndim == 3 and image.rgb.size
    except InputError as error:
        assert str(error).startswith("photo.png ") and "\n" not in str(error)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b.png"])
def test_names_that_cannot_be(name, tmp_path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / name)
