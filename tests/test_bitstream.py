"""Levels are read from the coded bytes; checked against what the encoders print themselves."""

from __future__ import annotations

import io
import re
import subprocess

import imagecodecs
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from cirbench import codecs, color
from cirbench.codecs import bitstream
from cirbench.errors import CodecError


@pytest.mark.parametrize("name", ["avc", "hevc", "vvc"])
def test_slice_qp_is_the_level_over_the_whole_range(name, photo) -> None:
    codec = codecs.get(name)
    settings = codec.settings(preset="faster")
    piece = np.ascontiguousarray(photo[:32, :32])
    for level in (codec.levels[0], 22, 32, 37, 42, 47, codec.levels[-1]):
        assert bitstream.slice_qp(name, codec.encode(piece, level, settings).bitstream) == level


@pytest.mark.parametrize(("name", "depth"), [("avc", 10), ("hevc", 10)])
def test_slice_qp_is_the_level_at_10_bits(name, depth, photo) -> None:
    codec = codecs.get(name)
    settings = codec.settings(preset="faster", bit_depth=depth)
    assert bitstream.slice_qp(name, codec.encode(photo, 37, settings).bitstream) == 37


@pytest.mark.parametrize(("library", "format"), [("libx264", "h264"), ("libx265", "hevc")])
def test_slice_qp_is_what_the_encoder_prints_and_the_obvious_command_is_off_by_3(
    library, format, photo
) -> None:
    planes = color.rgb_to_planes(photo, "420", 8)
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-f",
        "rawvideo",
        "-pix_fmt",
        "yuv420p",
        "-s",
        "128x96",
    ]
    command += ["-i", "pipe:0", "-c:v", library, "-qp", "37", "-f", format, "pipe:1"]
    raw = b"".join(plane.tobytes() for plane in planes)
    done = subprocess.run(command, input=raw, capture_output=True, check=True)
    printed = re.search(r"frame I:\s*1,?\s+Avg QP:\s*([\d.]+)", done.stderr.decode())
    assert printed, done.stderr.decode()
    name = {"h264": "avc"}.get(format, format)
    found = bitstream.slice_qp(name, done.stdout)
    assert found == float(printed[1]) == 34
    codec = codecs.get(name)
    with pytest.raises(CodecError, match="for qp37, the bitstream says qp34"):
        codec.check_level(done.stdout, 37, codec.settings())


@pytest.mark.parametrize("name", ["avc", "hevc", "vvc"])
def test_garbage_has_no_slice_qp(name) -> None:
    for data in (b"\0\0\1" + bytes(40), bytes(range(256)), b"x"):
        with pytest.raises(CodecError):
            bitstream.slice_qp(name, data)


def test_jpeg_quality_is_found_for_every_quality(photo) -> None:
    for quality in range(1, 101):
        data = imagecodecs.jpeg8_encode(photo, level=quality, subsampling="420")
        assert bitstream.jpeg_quality(data) == quality


def test_jpeg_tables_of_no_libjpeg_quality_are_refused(photo) -> None:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", qtables=[[7] * 64, [9] * 64])
    with pytest.raises(CodecError, match="no libjpeg quality"):
        bitstream.jpeg_quality(file.getvalue())
    with pytest.raises(CodecError, match="no libjpeg quality"):
        bitstream.jpeg_quality(b"\xff\xd8")


def test_lossless_webp_is_noticed(photo) -> None:
    lossy = imagecodecs.webp_encode(photo, level=10, lossless=False)
    lossless = imagecodecs.webp_encode(photo, level=10)  # imagecodecs' default: the trap
    webp = codecs.get("webp")
    webp.check_level(lossy, 10, webp.settings())
    with pytest.raises(CodecError, match="not a lossy WebP"):
        webp.check_level(lossless, 10, webp.settings())
    assert not bitstream.webp_is_lossy(b"RIFF....WEBP")
