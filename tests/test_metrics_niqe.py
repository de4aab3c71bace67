from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import crop
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import convolve
from scipy.stats import gennorm
from test_metrics_distortion import jpeg, y_of

from cirbench import metrics, weights
from cirbench.cli import main
from cirbench.errors import InputError, UnavailableError
from cirbench.metrics import niqe


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CIRBENCH_WEIGHTS", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    niqe.parameters.cache_clear()


@given(st.floats(0.6, 4), st.floats(0.5, 3))
@settings(max_examples=10, deadline=None)
def test_the_fit_finds_shape_and_spread_of_a_generalised_gaussian(a: float, b: float) -> None:
    values = gennorm.rvs(a, scale=b, size=200_000, random_state=1)
    alpha, left, right, _ = niqe._fit(values)
    assert alpha == pytest.approx(a, rel=0.05)
    assert left == pytest.approx(b, rel=0.05) and right == pytest.approx(b, rel=0.05)


def test_one_sided_and_flat_values_have_no_fit() -> None:
    for values in (np.zeros((4, 4)), np.ones((4, 4))):
        assert all(np.isnan(niqe._fit(values)))


def test_half_size_is_pillow_s_bicubic_away_from_the_edges() -> None:
    plane = y_of(crop("coffee.png", (96, 192)))[..., 0].astype(np.float32)
    theirs = Image.fromarray(plane).resize((96, 48), Image.Resampling.BICUBIC)
    # Pillow's cubic has a = -0.5 too, and is widened in the same way.
    half, theirs = (np.asarray(image)[4:-4, 4:-4] for image in (niqe._half(plane), theirs))
    assert np.allclose(half, theirs, atol=1e-2)


def test_features_are_those_of_two_dimensional_filters() -> None:
    plane = np.rint(y_of(crop("coffee.png", (96, 192)))[..., 0])
    grid = np.arange(-3, 4) ** 2
    window = np.exp(-(grid[:, None] + grid) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    mean = convolve(plane, window, mode="nearest")
    deviation = np.sqrt(np.abs(convolve(plane**2, window, mode="nearest") - mean**2))
    normal = ((plane - mean) / (deviation + 1))[:, 96:]
    alpha, left, right, _ = niqe._fit(normal)
    found = niqe._features(plane, 96)
    assert found.shape == (2, 18)
    assert found[1, :2] == pytest.approx([alpha, (left + right) / 2], abs=1e-9)
    wrapped = normal * np.concatenate([normal[:, -1:], normal[:, :-1]], axis=1)
    assert found[1, 2] == pytest.approx(niqe._fit(wrapped)[0], abs=1e-9)


def test_the_distance_is_zero_from_itself_and_grows_with_compression(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hq = crop("coffee.png", (300, 400), (0, 0))
    plane = np.rint(y_of(hq)[:288, :384, 0])
    scales = niqe._features(plane, 96), niqe._features(niqe._half(plane), 48)
    vectors = np.concatenate(scales, axis=1)
    file = weights.record("niqe-parameters").file
    arrays = {"mu_pris_param": vectors.mean(0)[None], "cov_pris_param": np.cov(vectors.T)}
    np.savez(tmp_path / file, **arrays)
    monkeypatch.setenv("CIRBENCH_WEIGHTS", str(tmp_path))
    metric = metrics.get("niqe")
    assert metric.problem() == ""
    with pytest.raises(UnavailableError, match="is not the published file"):
        metric.score([y_of(hq)], None, {})
    monkeypatch.setattr(weights.Found, "genuine", True)
    values = metric.score([y_of(hq), y_of(jpeg(hq, 20)), y_of(jpeg(hq, 3))], None, {})
    assert values[0] == pytest.approx(0, abs=1e-4) and values[0] < values[1] < values[2]


def test_flat_or_small_images_are_refused() -> None:
    with pytest.raises(InputError, match="two blocks of 96x96 pixels, this is 120x120"):
        niqe.niqe(np.zeros((120, 120, 1)), np.zeros(36), np.eye(36))
    with pytest.raises(InputError, match="not flat"):
        niqe.niqe(np.zeros((200, 200, 1)), np.zeros(36), np.eye(36))


def test_missing_parameters_are_named() -> None:
    assert "cirbench weights pull niqe-parameters" in metrics.get("niqe").problem()
    with pytest.raises(UnavailableError, match="niqe_pris_params.npz"):
        metrics.get("niqe").score([np.zeros((200, 200, 1))], None, {})


def test_the_command_lists_every_metric_and_what_is_missing() -> None:
    result = CliRunner().invoke(main, ["metrics"])
    assert result.exit_code == 0
    for name in metrics.names():
        assert f"\n{name} " in f"\n{result.output}"
    assert "cirbench weights pull niqe-parameters" in result.output
    assert "native-y      version 1" in result.output
