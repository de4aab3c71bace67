from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cirbench import color
from cirbench.errors import CirbenchError

IMAGES = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda size: arrays(np.uint8, (2 * size[0], 2 * size[1], 3))
)


def exact_planes(rgb: np.ndarray, chroma: str, depth: int) -> list[np.ndarray]:
    """ITU-T H.273 full-range BT.709 in rational arithmetic, half rounded up, pixel by pixel."""
    kr, kb = Fraction(2126, 10000), Fraction(722, 10000)
    step, peak, zero = (2 if chroma == "420" else 1), 2**depth - 1, 2 ** (depth - 1)
    height, width, _ = rgb.shape
    y = np.zeros((height, width), int)
    cb = np.zeros((height // step, width // step), int)
    cr = np.zeros_like(cb)

    def luma(r: Fraction, g: Fraction, b: Fraction) -> Fraction:
        return kr * r + (1 - kr - kb) * g + kb * b

    for row, column in np.ndindex(y.shape):
        r, g, b = (Fraction(int(v), 255) for v in rgb[row, column])
        y[row, column] = floor(peak * luma(r, g, b) + Fraction(1, 2))
    for row, column in np.ndindex(cb.shape):
        block = rgb[row * step : row * step + step, column * step : column * step + step]
        r, g, b = (Fraction(int(v), 255 * step**2) for v in block.reshape(-1, 3).sum(0, dtype=int))
        light = luma(r, g, b)
        cb[row, column] = floor(peak * (b - light) / (2 - 2 * kb) + zero + Fraction(1, 2))
        cr[row, column] = floor(peak * (r - light) / (2 - 2 * kr) + zero + Fraction(1, 2))
    return [y, np.minimum(cb, peak), np.minimum(cr, peak)]


@given(IMAGES, st.sampled_from(["420", "444"]), st.sampled_from([8, 10]))
@settings(max_examples=60, deadline=None)
def test_planes_are_the_exactly_rounded_standard_conversion(rgb, chroma, depth) -> None:
    found = color.rgb_to_planes(rgb, chroma, depth)
    wanted = exact_planes(rgb, chroma, depth)
    for mine, exact in zip(found, wanted, strict=True):
        if depth == 8:  # provably exact; at 10 bits float32 may turn a near-tie
            assert (mine == exact).all()
        assert np.abs(mine.astype(int) - exact).max() <= (depth > 8)


@given(IMAGES)
@settings(max_examples=60, deadline=None)
def test_444_round_trip_is_exact_at_10_bits_and_off_by_one_at_8(rgb) -> None:
    assert (color.planes_to_rgb(color.rgb_to_planes(rgb, "444", 10), 10) == rgb).all()
    back = color.planes_to_rgb(color.rgb_to_planes(rgb, "444", 8), 8)
    assert np.abs(back.astype(int) - rgb).max() <= 2


@given(st.tuples(*[st.integers(0, 255)] * 3), st.sampled_from([8, 10]))
@settings(max_examples=60, deadline=None)
def test_a_flat_image_survives_420(colour, depth) -> None:
    flat = np.full((34, 6, 3), colour, np.uint8)
    back = color.planes_to_rgb(color.rgb_to_planes(flat, "420", depth), depth)
    assert np.abs(back.astype(int) - flat).max() <= (2 if depth == 8 else 0)


def test_every_grey_is_neutral_and_exact() -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8), 4).reshape(256, 4)[:, :, None].repeat(3, 2)
    y, cb, cr = color.rgb_to_planes(grey, "420", 8)
    assert (y == grey[..., 0]).all() and (cb == 128).all() and (cr == 128).all()


def test_blocks_of_rows_do_not_show(photo) -> None:
    tall = np.ascontiguousarray(np.concatenate([photo] * 2)[:130])
    whole = color.rgb_to_planes(tall, "420", 10)
    for top in range(0, 130, 2):
        strip = color.rgb_to_planes(tall[top : top + 2], "420", 10)
        assert (strip[0] == whole[0][top : top + 2]).all()
        assert (strip[1] == whole[1][top // 2]).all() and (strip[2] == whole[2][top // 2]).all()


def test_rounding_loses_less_than_truncation(photo) -> None:
    rounded = color.planes_to_rgb(color.rgb_to_planes(photo, "444", 8), 8)
    truncated = color.planes_to_rgb(
        color.rgb_to_planes(photo, "444", 8, "compressai-compat"), 8, "compressai-compat"
    )
    error = [np.square(back.astype(float) - photo).mean() for back in (rounded, truncated)]
    assert error[0] < error[1] / 3


def test_compat_equals_compressai(photo) -> None:
    pytest.importorskip("torch")
    from cirbench.codecs import torch_compat

    torch_compat.import_torchvision()
    functional = pytest.importorskip("compressai.transforms.functional")
    import torch

    unit = torch.from_numpy(photo.transpose(2, 0, 1).copy()).float() / 255
    theirs = (np.clip(functional.rgb2ycbcr(unit).numpy(), 0, 1) * 255).astype(np.uint8)
    mine = color.rgb_to_planes(photo, "444", 8, "compressai-compat")
    assert (np.stack(mine) == theirs).all()
    back = functional.ycbcr2rgb(torch.from_numpy(theirs).float() / 255).numpy()
    back = (back.clip(0, 1).transpose(1, 2, 0) * 255).astype(np.uint8)
    assert (color.planes_to_rgb(mine, 8, "compressai-compat") == back).all()


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 16]))
def test_padding_repeats_the_edge_and_crops_back(height, width, minimum) -> None:
    rgb = np.random.default_rng(height * 41 + width).integers(0, 256, (height, width, 3), np.uint8)
    padded = color.pad(rgb, minimum)
    assert padded.shape[0] % 2 == padded.shape[1] % 2 == 0
    assert min(padded.shape[:2]) >= minimum
    assert (padded[:height, :width] == rgb).all()
    assert (padded[height:, :width] == rgb[-1:]).all() and (
        padded[:, width:] == padded[:, width - 1 : width]
    ).all()


def test_compat_is_only_8_bit_444() -> None:
    with pytest.raises(CirbenchError, match="--chroma 444"):
        color.check({"conversion": "compressai-compat", "chroma": "420", "bit_depth": 8})
