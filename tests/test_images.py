"""Reading HQ images: what is accepted, what it becomes, what is refused, and with which words."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from cirbench.errors import InputError
from cirbench.images import MAX_BYTES, HQImage, read

pytestmark = pytest.mark.filterwarnings("error")

_RNG = np.random.default_rng(20)
RGB8 = _RNG.integers(0, 256, (13, 21, 3), dtype=np.uint8)
RGB16 = _RNG.integers(0, 65536, (13, 21, 3), dtype=np.uint16)
PHOTO = Image.fromarray(RGB8)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    lines: list[bytes], size: tuple[int, int], depth: int, colour: int, *, extra=b"", interlace=0
) -> bytes:
    """A PNG of unfiltered lines, for the kinds that Pillow cannot write."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlace)
    pixels = zlib.compress(b"".join(b"\0" + line for line in lines))
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def reading(folder: Path, data: bytes, name: str = "photo.png") -> HQImage:
    (folder / name).write_bytes(data)
    return read(folder / name)


def pillow(data: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


EXIF_6 = Image.Exif()
EXIF_6[274] = 6
VALID = {
    "png rgb": (saved(PHOTO, "PNG"), "RGB"),
    "png grey": (saved(PHOTO.convert("L"), "PNG"), "L"),
    "png 1 bit": (saved(PHOTO.convert("1"), "PNG"), "1"),
    "png palette": (saved(PHOTO.quantize(200), "PNG"), "P"),
    "png palette of 4": (saved(PHOTO.quantize(4), "PNG"), "P"),
    "png grey, 2 bit": (png([_RNG.bytes(6) for _ in range(13)], (21, 13), 2, 0), "L;2"),
    "png grey, 4 bit": (png([_RNG.bytes(11) for _ in range(13)], (21, 13), 4, 0), "L;4"),
    "png opaque": (saved(PHOTO.convert("RGBA"), "PNG"), "RGBA"),
    "png grey, opaque": (saved(PHOTO.convert("LA"), "PNG"), "LA"),
    "png turned": (saved(PHOTO, "PNG", exif=EXIF_6), "RGB"),
    "jpeg": (saved(PHOTO, "JPEG", exif=EXIF_6), "RGB"),
    "jpeg progressive": (saved(PHOTO, "JPEG", progressive=True, subsampling=0), "RGB"),
    "jpeg restarts": (saved(PHOTO, "JPEG", restart_marker_blocks=1), "RGB"),
    "jpeg coded as rgb": (saved(PHOTO, "JPEG", keep_rgb=True), "RGB"),
    "jpeg grey": (saved(PHOTO.convert("L"), "JPEG"), "L"),
    "webp": (saved(PHOTO, "WEBP"), "RGB"),
    "webp lossless": (saved(PHOTO, "WEBP", lossless=True, exif=EXIF_6), "RGB"),
    "bmp": (saved(PHOTO, "BMP"), "RGB"),
    "bmp grey": (saved(PHOTO.convert("L"), "BMP"), "L"),
    "bmp palette": (saved(PHOTO.quantize(99), "BMP"), "P"),
    "bmp 1 bit": (saved(PHOTO.convert("1"), "BMP"), "1"),
    "tiff": (saved(PHOTO, "TIFF", tiffinfo={274: 8}), "RGB"),
    "tiff lzw": (saved(PHOTO, "TIFF", compression="tiff_lzw"), "RGB"),
    "tiff jpeg": (saved(PHOTO.convert("YCbCr"), "TIFF", compression="jpeg"), "YCbCr"),
    "tiff grey": (saved(PHOTO.convert("L"), "TIFF"), "L"),
    "tiff palette": (saved(PHOTO.quantize(99), "TIFF"), "P"),
    "tiff palette lzw": (saved(PHOTO.quantize(99), "TIFF", compression="tiff_lzw"), "P"),
    "tiff jpeg tiles": (
        tiff(np.tile(RGB8, (5, 5, 1)), photometric="rgb", compression="jpeg", tile=(16, 16)),
        "YCbCr",
    ),
    "tiff fax": (saved(PHOTO.convert("1"), "TIFF", compression="group4"), "1"),
    "tiff opaque": (saved(PHOTO.convert("RGBA"), "TIFF"), "RGBA"),
    "tiff grey, opaque": (saved(PHOTO.convert("LA"), "TIFF"), "LA"),
}


@pytest.mark.parametrize("name", VALID)
def test_pixels_equal_pillows_and_the_mode_is_said(tmp_path: Path, name: str) -> None:
    data, mode = VALID[name]
    image = reading(tmp_path, data)
    assert image.rgb.dtype == np.uint8
    assert image.rgb.flags.c_contiguous
    assert image.source_mode == mode
    np.testing.assert_array_equal(image.rgb, pillow(data))


def test_interlaced_png(tmp_path: Path) -> None:
    passes = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2)]
    steps = [RGB8[y::dy, x::dx] for y, dy, x, dx in [*passes, (1, 2, 0, 1)]]
    lines = [line.tobytes() for step in steps for line in step]
    image = reading(tmp_path, png(lines, (21, 13), 8, 2, interlace=1))
    np.testing.assert_array_equal(image.rgb, RGB8)


@pytest.mark.parametrize(
    "layout",
    [
        {"tile": (16, 16), "compression": "deflate"},
        {"byteorder": ">", "compression": "lzw", "predictor": True},
        {"bigtiff": True, "rowsperstrip": 4},
        {"planarconfig": "separate"},
    ],
)
@pytest.mark.parametrize("pixels", [RGB8, RGB16])
def test_tiff_layouts(tmp_path: Path, layout: dict[str, Any], pixels: np.ndarray) -> None:
    stored = np.moveaxis(pixels, 2, 0) if "planarconfig" in layout else pixels
    image = reading(tmp_path, tiff(stored, photometric="rgb", **layout))
    expected = pixels if pixels.dtype == np.uint8 else np.rint(pixels / 257)
    np.testing.assert_array_equal(image.rgb, expected)


def test_tiff_where_white_is_zero(tmp_path: Path) -> None:
    image = reading(tmp_path, tiff(RGB8[..., 0], photometric="miniswhite"))
    np.testing.assert_array_equal(image.rgb[..., 1], 255 - RGB8[..., 0])


def test_16_bit_is_rounded_not_cut(tmp_path: Path) -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    grey = reading(tmp_path, imagecodecs.png_encode(every))
    assert grey.source_mode == "L;16"
    np.testing.assert_array_equal(grey.rgb[..., 2], np.rint(every / 257))
    for data in (imagecodecs.png_encode(RGB16), tiff(RGB16, photometric="rgb")):
        image = reading(tmp_path, data)
        assert image.source_mode == "RGB;16"
        np.testing.assert_array_equal(image.rgb, np.rint(RGB16 / 257))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "palette TIFF"])
def test_orientation_is_applied_and_noted(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    picture = PHOTO.quantize(50) if "palette" in kind else PHOTO
    options = {"tiffinfo": {274: orientation}} if "TIFF" in kind else {"exif": exif}
    data = saved(picture, kind.split()[-1], **options)
    image = reading(tmp_path, data)
    np.testing.assert_array_equal(image.rgb, pillow(data))
    assert (f"EXIF orientation {orientation} applied" in image.notes) == (orientation > 1)


def test_nonsense_orientation_is_noted_and_ignored(tmp_path: Path) -> None:
    for exif in (b"Exif\0\0not an exif block", b"Exif\0\0II*\0"):
        image = reading(tmp_path, saved(PHOTO, "JPEG", exif=exif))
        assert image.rgb.shape == RGB8.shape
        assert image.notes == ("unreadable EXIF orientation ignored",)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_icc_profile_is_ignored_noted_and_makes_no_noise(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    plain = reading(tmp_path, saved(PHOTO, kind))
    profiled = reading(tmp_path, saved(PHOTO, kind, icc_profile=b"not much of a profile"))
    np.testing.assert_array_equal(plain.rgb, profiled.rgb)
    assert plain.notes == ()
    assert profiled.notes == ("ICC profile ignored",)
    assert capfd.readouterr() == ("", "")


def _with_alpha(alpha: int) -> Image.Image:
    image = PHOTO.convert("RGBA")
    image.putpixel((20, 12), (1, 2, 3, alpha))
    return image


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_one_transparent_pixel_is_refused_and_opaque_alpha_dropped(
    tmp_path: Path, kind: str
) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    with pytest.raises(InputError, match=r"^photo\.png has transparent pixels.*flatten it"):
        reading(tmp_path, saved(_with_alpha(254), kind, **options))
    opaque = _with_alpha(255)
    image = reading(tmp_path, saved(opaque, kind, **options))
    np.testing.assert_array_equal(image.rgb, np.asarray(opaque)[..., :3])
    if kind != "WEBP":  # whose encoder leaves an opaque alpha out
        assert image.notes == ("opaque alpha dropped",)


def test_colour_key_and_transparent_palette_entry_count_as_alpha(tmp_path: Path) -> None:
    key = struct.pack(">3H", *map(int, RGB8[5, 5]))
    lines = [line.tobytes() for line in RGB8]
    keyed = png(lines, (21, 13), 8, 2, extra=chunk(b"tRNS", key))
    palette = saved(PHOTO.quantize(8), "PNG", transparency=0)
    deep = imagecodecs.png_encode(np.dstack([RGB16, np.full(RGB16.shape[:2], 65534, np.uint16)]))
    for data in (keyed, palette, deep):
        with pytest.raises(InputError, match="transparent"):
            reading(tmp_path, data)


_TWO = {"save_all": True, "append_images": [PHOTO.rotate(180)]}
_BOMB = png([b""], (20_000, 20_000), 8, 2)
REFUSED = {
    "transparent gif": (saved(PHOTO.quantize(8), "GIF"), "is not a PNG, JPEG, BMP, TIFF or WebP"),
    "text": (b"this is no image, whatever its name says", "is not a PNG"),
    "empty": (b"", "is empty"),
    "signature alone": (b"\x89PNG\r\n\x1a\n", "is truncated"),
    "animated png": (saved(PHOTO, "PNG", **_TWO), "animated PNG"),
    "animated webp": (saved(PHOTO, "WEBP", lossless=True, **_TWO), "animated WebP"),
    "pages": (saved(PHOTO, "TIFF", **_TWO), "several pages"),
    "cmyk jpeg": (saved(PHOTO.convert("CMYK"), "JPEG"), "CMYK or YCCK JPEG; convert it to RGB"),
    "cmyk tiff": (saved(PHOTO.convert("CMYK"), "TIFF"), "TIFF in CMYK; convert it to RGB"),
    "lab tiff": (tiff(RGB8, photometric="cielab"), r"TIFF in CIE L\*a\*b\*"),
    "float tiff": (tiff(RGB8 / np.float32(255), photometric="rgb"), "floating-point"),
    "signed tiff": (tiff(RGB8.astype(np.int8), photometric="rgb"), "signed"),
    "32-bit tiff": (tiff(RGB8.astype(np.uint32), photometric="rgb"), "32 bits per sample"),
    "no pixels": (png([b""], (0, 0), 8, 2), "has no pixels"),
    "bomb": (_BOMB, "20000x20000, more than the 178956970 pixels"),
    "bmp bomb": (saved(PHOTO, "BMP")[:18] + struct.pack("<ii", 60_000, 60_000) + b"\1\0\30" * 20,
                 "60000x60000, more than"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_file_and_say_why(tmp_path: Path, name: str) -> None:
    data, words = REFUSED[name]
    with pytest.raises(InputError, match=f"^photo.png .*{words}"):
        reading(tmp_path, data)


@pytest.mark.parametrize("name", VALID)
def test_a_cut_file_never_loses_pixels_in_silence(tmp_path: Path, name: str) -> None:
    data, _ = VALID[name]
    whole = reading(tmp_path, data).rgb
    refused = 0
    lengths = range(1, len(data), max(1, len(data) // 60))
    for length in lengths:
        try:
            np.testing.assert_array_equal(reading(tmp_path, data[:length]).rgb, whole)
        except InputError:
            refused += 1
    assert refused >= len(lengths) - 1  # a BMP's last bytes may be padding


def test_a_jpeg_in_a_preallocated_file_is_refused(tmp_path: Path) -> None:
    data, _ = VALID["jpeg"]
    half = len(data) * 3 // 4
    with pytest.raises(InputError, match="truncated"):
        reading(tmp_path, data[:half] + bytes(len(data) - half))


def test_one_flipped_bit_in_a_png_is_always_noticed(tmp_path: Path) -> None:
    data = bytearray(VALID["png rgb"][0])
    for index in range(8, len(data)):
        data[index] ^= 1 << index % 8
        with pytest.raises(InputError):
            reading(tmp_path, bytes(data))
        data[index] ^= 1 << index % 8


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_files_decode_or_raise_input_error(tmp_path: Path, data: st.DataObject) -> None:
    original, _ = VALID[data.draw(st.sampled_from(sorted(VALID)))]
    changed = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(changed)), st.integers(0, len(changed))))
    try:
        image = reading(tmp_path, bytes(changed[:cut]))
        assert image.rgb.dtype == np.uint8
        assert image.rgb.shape[2:] == (3,)
    except InputError as error:
        assert str(error).startswith("photo.png ")
        assert "\n" not in str(error)


_SIGNATURES = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0\x08\0\0\0", b"MM\0+"]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(start=st.sampled_from([*_SIGNATURES, b"RIFF\x40\0\0\0WEBPVP8X"]), rest=st.binary())
def test_random_bytes_raise_input_error(tmp_path: Path, start: bytes, rest: bytes) -> None:
    with pytest.raises(InputError):
        reading(tmp_path, start + rest)


def test_content_decides_not_the_extension(tmp_path: Path) -> None:
    np.testing.assert_array_equal(reading(tmp_path, saved(PHOTO, "BMP"), "photo.jpg").rgb, RGB8)


def test_what_cannot_be_opened_is_an_input_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse
    (tmp_path / "loop.png").symlink_to("loop.png")
    for name, words in {
        "pipe.png": "not a regular file",
        "huge.png": "larger than 2 GiB",
        "loop.png": "cannot be read",
        "missing.png": "cannot be read: No such file",
    }.items():
        with pytest.raises(InputError, match=f"^{name} .*{words}"):
            read(tmp_path / name)
