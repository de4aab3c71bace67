from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from conftest import crop
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from cirbench import metrics
from cirbench.errors import CirbenchError, InputError
from cirbench.metrics import protocol
from cirbench.metrics.distortion import psnr_pair
from cirbench.metrics.psnr import blocking_effect
from cirbench.metrics.ssim import halve
from cirbench.metrics.window import SIZE, blur

rgb_of = protocol.get("native-rgb").prepare
y_of = protocol.get("native-y").prepare

SKIMAGE = {"gaussian_weights": True, "use_sample_covariance": False, "data_range": 255}


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    return imagecodecs.jpeg_decode(imagecodecs.jpeg_encode(image, quality))


def one(name: str, restored: np.ndarray, hq: np.ndarray) -> float:
    (value,) = metrics.get(name).score([restored], hq, {})
    return float(value)


@given(st.integers(11, 60), st.integers(11, 60), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_psnr_and_ssim_equal_scikit_image(height: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    hq = random.integers(0, 256, (height, width, 3), np.uint8)
    lq = np.clip(hq + random.integers(-30, 31, hq.shape), 0, 255).astype(np.uint8)
    theirs = [rgb2ycbcr(image)[..., 0] for image in (hq, lq)]
    assert one("psnr", y_of(lq), y_of(hq)) == pytest.approx(
        peak_signal_noise_ratio(*theirs, data_range=255), abs=1e-9
    )
    assert one("psnr", rgb_of(lq), rgb_of(hq)) == pytest.approx(
        peak_signal_noise_ratio(hq, lq), abs=1e-9
    )
    assert one("ssim", y_of(lq), y_of(hq)) == pytest.approx(
        structural_similarity(*theirs, **SKIMAGE), abs=1e-9
    )
    assert one("ssim", rgb_of(lq), rgb_of(hq)) == pytest.approx(
        structural_similarity(hq, lq, channel_axis=2, **SKIMAGE), abs=1e-9
    )


def test_ssim_of_a_photo_larger_than_its_stripes_equals_scikit_image() -> None:
    hq = crop("chelsea.png", (230, 331), (0, 0))
    for quality in (5, 40):
        pair = y_of(hq), y_of(jpeg(hq, quality))
        theirs = structural_similarity(pair[0][..., 0], pair[1][..., 0], **SKIMAGE)
        assert one("ssim", pair[1], pair[0]) == pytest.approx(theirs, abs=1e-9)


def test_psnr_is_the_manifest_s(photo: np.ndarray) -> None:
    lq = jpeg(photo, 10)
    both = one("psnr", rgb_of(lq), rgb_of(photo)), one("psnr", y_of(lq), y_of(photo))
    assert both == pytest.approx(psnr_pair(photo, lq), abs=1e-10)


def test_a_batch_with_one_memo_equals_one_by_one(photo: np.ndarray) -> None:
    restored = [y_of(jpeg(photo, quality)) for quality in (5, 10, 40)]
    for name in ("psnr", "ssim", "psnr-b", "gmsd"):
        memo: dict[str, object] = {}
        together = metrics.get(name).score(restored, y_of(photo), memo)
        again = metrics.get(name).score(restored[::-1], y_of(photo), memo)
        assert together.dtype == np.float64 and together.shape == (3,)
        assert together.tolist() == again[::-1].tolist()
        assert together.tolist() == [one(name, image, y_of(photo)) for image in restored]


@pytest.mark.parametrize("size", [(161, 170), (176, 161), (256, 256)])
def test_ms_ssim_equals_pytorch_msssim(size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("pytorch_msssim").ms_ssim
    hq = crop("astronaut.png", size, (0, 100))
    taps = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    exact = torch.from_numpy(np.tile(taps / taps.sum(), (3, 1, 1, 1)))
    for quality in (5, 30):
        lq = jpeg(hq, quality)
        pair = [torch.from_numpy(i.transpose(2, 0, 1)[None].astype(float)) for i in (lq, hq)]
        value = one("ms-ssim", rgb_of(lq), rgb_of(hq))
        assert value == pytest.approx(float(theirs(*pair, data_range=255, win=exact)), abs=1e-9)
        # Its own window has float32 taps, whose sum is not quite 1.
        assert value == pytest.approx(float(theirs(*pair, data_range=255)), abs=1e-5)


def test_ms_ssim_reuses_the_statistics_of_ssim(photo: np.ndarray) -> None:
    hq, lq = (np.tile(image, (2, 2, 1)) for image in (photo, jpeg(photo, 10)))
    memo: dict[str, object] = {}
    metrics.get("ssim").score([lq], hq, memo)
    (value,) = metrics.get("ms-ssim").score([lq], hq, memo)
    assert value == one("ms-ssim", lq, hq)


def test_an_odd_side_is_halved_between_zero_lines() -> None:
    halved = halve(np.full((3, 4), 8.0))
    assert halved.tolist() == [[4, 4], [8, 8]]


def slow_psnr_b(image: np.ndarray, hq: np.ndarray) -> float:
    """Yim and Bovik 2011, pair by pair."""
    height, width = image.shape
    on, off = [], []
    for row in range(height):
        for column in range(width - 1):
            pair = (image[row, column] - image[row, column + 1]) ** 2
            (on if column % 8 == 7 else off).append(pair)
    for column in range(width):
        for row in range(height - 1):
            pair = (image[row, column] - image[row + 1, column]) ** 2
            (on if row % 8 == 7 else off).append(pair)
    surplus = np.mean(on) - np.mean(off)
    effect = surplus * np.log2(8) / np.log2(min(height, width)) if surplus > 0 else 0
    return float(10 * np.log10(255**2 / (np.mean((image - hq) ** 2) + effect)))


@pytest.mark.parametrize("size", [(32, 48), (41, 30)])
@pytest.mark.parametrize("quality", [5, 90])
def test_psnr_b_equals_the_paper_pair_by_pair(
    photo: np.ndarray, size: tuple[int, int], quality: int
) -> None:
    hq = np.ascontiguousarray(photo[: size[0], : size[1]])
    hq, lq = y_of(hq), y_of(jpeg(hq, quality))
    expected = slow_psnr_b(lq[..., 0], hq[..., 0])
    assert one("psnr-b", lq, hq) == pytest.approx(expected, abs=1e-9)


def test_only_blocks_on_the_grid_lower_psnr_b() -> None:
    blocks = np.kron(np.indices((4, 4)).sum(0) % 2 * 40.0, np.ones((8, 8)))
    assert blocking_effect(blocks) > 0
    assert blocking_effect(np.roll(blocks, 3, (0, 1))[:, :29]) == 0
    assert blocking_effect(blocks[:8, :8]) == 0


def slow_gmsd(image: np.ndarray, hq: np.ndarray) -> float:
    """Xue et al. 2014 as their MATLAB code does it, with scipy's full convolution."""
    prewitt = np.array([[1, 0, -1]] * 3) / 3
    magnitudes = []
    for plane in (hq, image):
        half = convolve2d(plane, np.ones((2, 2)) / 4)[1:, 1:][::2, ::2]
        across, down = (convolve2d(half, k, mode="same") for k in (prewitt, prewitt.T))
        magnitudes.append(np.hypot(across, down))
    a, b = magnitudes
    return float(np.std((2 * a * b + 170) / (a**2 + b**2 + 170), ddof=1))


@pytest.mark.parametrize("size", [(96, 128), (95, 127), (3, 3)])
def test_gmsd_equals_the_published_one(photo: np.ndarray, size: tuple[int, int]) -> None:
    hq, lq = (y_of(image)[: size[0], : size[1]] for image in (photo, jpeg(photo, 10)))
    expected = slow_gmsd(lq[..., 0], hq[..., 0])
    assert one("gmsd", lq, hq) == pytest.approx(expected, abs=1e-12)


def test_equal_images_get_the_best_value(photo: np.ndarray) -> None:
    hq = y_of(np.tile(photo, (2, 2, 1)))
    assert one("psnr", hq, hq) == np.inf
    assert one("ssim", hq, hq) == pytest.approx(1, abs=1e-12)
    assert one("ms-ssim", hq, hq) == pytest.approx(1, abs=1e-12)
    assert one("gmsd", hq, hq) == 0


def test_the_window_is_a_normalised_gaussian() -> None:
    impulse = np.zeros((1, 2 * SIZE - 1, 3 * SIZE))
    impulse[0, SIZE - 1, SIZE - 1] = 1
    window = blur(impulse)[0, :, :SIZE]
    distance = np.arange(-5, 6)
    expected = np.exp(-(distance[:, None] ** 2 + distance**2) / (2 * 1.5**2))
    assert np.allclose(window, expected / expected.sum(), atol=1e-15)


def test_images_that_are_too_small_or_of_another_size_are_refused(photo: np.ndarray) -> None:
    with pytest.raises(InputError, match="SSIM needs at least 11x11 pixels, this is 128x10"):
        one("ssim", photo[:10], photo[:10])
    with pytest.raises(InputError, match="MS-SSIM needs at least 161x161"):
        one("ms-ssim", photo, photo)
    for name in ("psnr", "ssim", "psnr-b"):
        with pytest.raises(ValueError, match="restored is"):
            one(name, photo[:-1], photo)


def test_names_are_parsed_and_mistypings_get_a_suggestion() -> None:
    assert [m.name for m in metrics.parse("ssim, psnr,ssim")] == ["ssim", "psnr"]
    assert [m.name for m in metrics.parse("all")] == list(metrics.names())
    with pytest.raises(CirbenchError, match=r"no metric 'SSMI'; did you mean .*\bssim\b"):
        metrics.parse("SSMI")
    with pytest.raises(CirbenchError, match="no metric in ' ,'"):
        metrics.parse(" ,")


def test_every_metric_is_described_completely() -> None:
    for name in metrics.names():
        metric = metrics.get(name)
        assert metric.name == name and metric.title and metric.doc
        assert metric.better in ("higher", "lower") and metric.per in ("image", "set")
        assert metric.protocols and all(protocol.get(p) for p in metric.protocols)
        assert isinstance(metric.problem(), str)
