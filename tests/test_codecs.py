from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from cirbench import codecs
from cirbench.errors import CirbenchError, CodecError
from cirbench.metrics.distortion import psnr_pair

LEVELS = {"jpeg": 10, "webp": 10, "hevc": 37, "vvc": 42, "avc": 37}
FAST = {"hevc": "ultrafast", "vvc": "faster", "avc": "ultrafast"}


def fast(name: str, **wanted: object) -> dict[str, object]:
    preset = {"preset": FAST[name]} if name in FAST else {}
    return codecs.get(name).settings(**preset, **wanted)


@pytest.mark.parametrize("name", ["jpeg", "webp"])
@pytest.mark.parametrize("quality", [5, 10, 15])
def test_jpeg_and_webp_equal_pillow_bit_for_bit(name, quality, photo) -> None:
    codec = codecs.get(name)
    coded = codec.encode(photo, quality, codec.settings()).bitstream
    file = io.BytesIO()
    Image.fromarray(photo).save(file, name.upper(), quality=quality)
    library = {"jpeg": "libjpeg_turbo", "webp": "webp"}[name]
    versions = f"Pillow: {features.version(library)}, cirbench: {codec.probe().version}"
    assert coded == file.getvalue(), versions
    theirs = np.asarray(Image.open(file).convert("RGB"))
    assert (codec.decode(coded, photo.shape[:2], codec.settings()) == theirs).all(), versions


@pytest.mark.parametrize("name", LEVELS)
@settings(max_examples=8, deadline=None)
@given(size=st.tuples(st.integers(1, 70), st.integers(1, 70)))
def test_any_size_survives_a_round_trip(name, size) -> None:
    rgb = np.random.default_rng(size).integers(0, 256, (*size, 3), np.uint8)
    codec, chosen = codecs.get(name), fast(name)
    coded = codec.encode(rgb, LEVELS[name], chosen)
    assert codec.decode(coded.bitstream, size, chosen).shape == rgb.shape


@pytest.mark.parametrize("name", LEVELS)
def test_one_pixel_and_bsds_size(name) -> None:
    codec, chosen = codecs.get(name), fast(name)
    for size in ((1, 1), (321, 481)):
        rgb = np.zeros((*size, 3), np.uint8) + np.uint8(90)
        coded = codec.encode(rgb, LEVELS[name], chosen)
        lq = codec.decode(coded.bitstream, size, chosen)
        assert lq.shape == rgb.shape and np.abs(lq.astype(int) - 90).max() <= 40


@pytest.mark.parametrize("name", LEVELS)
def test_a_better_level_is_larger_and_closer(name, photo) -> None:
    codec, chosen = codecs.get(name), fast(name)
    levels = (5, 40, 90) if codec.parameter == "qf" else (47, 32, 17)
    coded = [codec.encode(photo, level, chosen).bitstream for level in levels]
    psnr = [psnr_pair(photo, codec.decode(c, photo.shape[:2], chosen))[0] for c in coded]
    assert sorted(map(len, coded)) == list(map(len, coded)) and sorted(psnr) == psnr


@pytest.mark.parametrize("name", ["jpeg", "hevc", "avc"])
def test_444_keeps_more_colour_than_420(name) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = (255, 0, 0)
    stripes[:, 1::2] = (0, 0, 255)
    level = 80 if name == "jpeg" else 20
    codec, psnr = codecs.get(name), {}
    for chroma in ("420", "444"):
        chosen = fast(name, chroma=chroma)
        coded = codec.encode(stripes, level, chosen).bitstream
        psnr[chroma] = psnr_pair(stripes, codec.decode(coded, (64, 64), chosen))[0]
    assert psnr["444"] > psnr["420"] + 5


@pytest.mark.parametrize("name", LEVELS)
def test_encoding_is_deterministic(name, photo) -> None:
    codec, chosen = codecs.get(name), fast(name)
    first, second = (codec.encode(photo, LEVELS[name], chosen) for _ in range(2))
    assert first.bitstream == second.bitstream and first.args == second.args


@pytest.mark.parametrize("name", ["hevc", "vvc", "avc"])
def test_streams_carry_no_text_about_the_encoder(name, photo) -> None:
    coded = codecs.get(name).encode(photo, 47, fast(name)).bitstream
    for text in (b"x26", b"options", b"Lav", b"warning"):  # SEI; libvvenc's standard output
        assert text not in coded


@pytest.mark.parametrize("name", LEVELS)
def test_damaged_bitstreams_raise_codec_error_or_decode(name, photo) -> None:
    codec, chosen = codecs.get(name), fast(name)
    coded = codec.encode(photo, LEVELS[name], chosen).bitstream
    for bad in (b"", b"junk" * 20, coded[: len(coded) // 3]):
        try:
            codec.decode(bad, photo.shape[:2], chosen)
        except CodecError:
            continue
        assert bad == coded[: len(coded) // 3], "nonsense was decoded"


def test_probe_names_exact_versions() -> None:
    parts = {"jpeg": "libjpeg-turbo", "webp": "libwebp", "hevc": "libx265", "vvc": "libvvenc"}
    for name, part in {**parts, "avc": "libx264 core"}.items():
        probe = codecs.get(name).probe()
        assert (
            probe.available
            and probe.version.startswith(part)
            and any(map(str.isdigit, probe.version))
        )
        assert "unknown" not in probe.version


def test_a_mistyped_codec_suggests_the_right_one() -> None:
    with pytest.raises(CirbenchError, match="did you mean hevc"):
        codecs.get("hevk")


def test_levels_are_read_in_every_spelling_and_checked() -> None:
    jpeg = codecs.get("jpeg")
    assert [jpeg.level(text) for text in (10, "10", "qf10", "qf=10")] == [10] * 4
    for text in ("0", "101", "low", "qp10", "-1", ""):
        with pytest.raises(CirbenchError, match="it takes qf 1 to 100"):
            jpeg.level(text)


def test_settings_are_complete_and_checked() -> None:
    vvc = codecs.get("vvc")
    assert vvc.settings()["preset"] == "medium" and vvc.settings()["bit_depth"] == 10
    for wanted in ({"chroma": "444"}, {"speed": 3}, {"encoder": "x265"}):
        with pytest.raises(CirbenchError):
            vvc.settings(**wanted)
