"""Cheng2020 against CompressAI's own compress() and decompress(), with random weights."""

from __future__ import annotations

import importlib.util
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
if not importlib.util.find_spec("compressai"):  # importing it needs torch_compat first
    pytest.skip("needs compressai", allow_module_level=True)

from cirbench.codecs import (  # noqa: E402
    autoregressive,
    cheng2020,
    cheng2020_model,
    context,
    learned,
)
from cirbench.errors import CirbenchError, CodecError, UnavailableError  # noqa: E402

SETTINGS = {
    "metric": "mse",
    "architecture": "attn",
    "weights": "published",
    "device": "cpu",
    "threads": 1,
}
FILE = "cheng2020_attn-mse-2-e0805385.pth.tar"


def _random_model(*args: Any) -> Any:
    path = Path(__file__).parent.parent / "benchmarks" / "cheng2020.py"
    spec = importlib.util.spec_from_file_location("benchmark_cheng2020", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.random_model(*args)


@pytest.fixture(scope="module")
def oracle() -> Any:
    return _random_model(24)


@pytest.fixture(scope="module")
def state(oracle: Any) -> dict[str, Any]:
    return {key: value.clone() for key, value in oracle.state_dict().items()}


@pytest.fixture
def installed(state: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The random weights where ``published`` looks first."""
    monkeypatch.setenv("CIRBENCH_WEIGHTS", str(tmp_path))
    torch.save(state, tmp_path / FILE)
    return tmp_path / FILE


def _photo(height: int, width: int) -> np.ndarray:
    from skimage.data import coffee

    return np.ascontiguousarray(coffee()[90 : 90 + height, 200 : 200 + width])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("architecture", ["attn", "anchor"])
def test_strings_and_picture_are_compressais(
    tmp_path: Path, architecture: str, threads: int
) -> None:
    oracle = _random_model(24, 3, architecture)
    torch.save(oracle.state_dict(), tmp_path / "w.pth.tar")
    rgb = _photo(192, 256)
    with learned.steady(threads):
        net = cheng2020_model.network(tmp_path / "w.pth.tar", architecture, "cpu")
        image = cheng2020._picture(rgb)
        strings, y_hat = net.compress(image)
        theirs = oracle.compress(image)
        decoded = oracle.decompress(theirs["strings"], theirs["shape"])["x_hat"]
        ours = cheng2020._pixels(net, y_hat, (192, 256))
    assert net.context.fast
    assert [strings[0], strings[1]] == [theirs["strings"][0][0], theirs["strings"][1][0]]
    assert 0.1 < 8 * sum(map(len, strings)) / rgb[..., 0].size < 1
    difference = np.abs((decoded * 255).round()[0].permute(1, 2, 0).numpy() - ours)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-4


def test_plain_arithmetic_gives_the_same_strings(
    oracle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    y = torch.randn(1, 24, 8, 12, generator=torch.Generator().manual_seed(1)) * 2
    params = torch.randn(1, 48, 8, 12, generator=torch.Generator().manual_seed(2))
    with learned.steady(1):
        fast = context.prepare(oracle)
        monkeypatch.setattr(context, "_exact", lambda *_: None)
        plain = context.prepare(oracle)
        assert (fast.fast, plain.fast) == (True, False)
        expected = autoregressive.encode(plain, y, params)
        found = autoregressive.encode(fast, y, params)
    assert found[0] == expected[0]
    assert torch.equal(found[1], expected[1])


def test_inexact_arithmetic_is_not_used() -> None:
    def plain(rows: Any) -> Any:
        return rows * 3

    def off_by_one_bit_in_large_batches(rows: Any) -> Any:
        return plain(rows) * (1 + (len(rows) > 20) * 2**-22)

    shape = (context.MAX_BATCH, 4)
    assert context._exact(plain, plain, shape, 0) is plain
    assert context._exact(off_by_one_bit_in_large_batches, plain, shape, 0) is None


@given(st.integers(1, 40), st.integers(4, 120))
def test_fronts_cover_every_position_after_what_it_sees(height: int, width: int) -> None:
    done = np.zeros((height, width), bool)
    for top, left, count in autoregressive._fronts(height, width):
        assert 1 <= count <= context.MAX_BATCH
        front = [(top + step, left - 3 * step) for step in range(count)]
        for row, column in front:
            assert done[max(0, row - 2) : row, max(0, column - 2) : column + 3].all()
            assert done[row, max(0, column - 2) : column].all()
        for row, column in front:
            assert not done[row, column]
            done[row, column] = True
    assert done.all()


def test_indexes_are_build_indexes(oracle: Any) -> None:
    table = oracle.gaussian_conditional.scale_table
    above = torch.nextafter(table, torch.tensor(1e9))
    below = torch.nextafter(table, torch.tensor(0.0))
    scales = torch.cat([table, above, below, torch.tensor([-1.0, 0.0, 0.1, 1e6])])
    with learned.steady(1):
        found = context.prepare(oracle).indexes(scales)
    assert torch.equal(found, oracle.gaussian_conditional.build_indexes(scales).long())


@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 150), width=st.integers(1, 150), seed=st.integers(0, 9))
def test_decode_gives_the_reconstruction_of_any_size(
    installed_once: Path, height: int, width: int, seed: int
) -> None:
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    coded = cheng2020.encode(rgb, 2, SETTINGS)
    assert coded.reconstruction is not None
    assert coded.reconstruction.shape == rgb.shape
    decoded = cheng2020.decode(coded.bitstream, (height, width), SETTINGS)
    assert np.array_equal(decoded, coded.reconstruction)


@pytest.fixture(scope="module")
def installed_once(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("weights")
    torch.save(state, folder / FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CIRBENCH_WEIGHTS", str(folder))
        yield folder / FILE


def test_bitstream_says_level_and_metric(installed: Path) -> None:
    coded = cheng2020.encode(_photo(64, 64), 2, SETTINGS)
    assert cheng2020.level_of(coded.bitstream, SETTINGS) == 2
    assert "cheng2020-attn" in coded.args and "N=24" in coded.args
    with pytest.raises(CodecError, match="made by c_psnr, not by c_ssim"):
        cheng2020.decode(coded.bitstream, (64, 64), SETTINGS | {"metric": "ms-ssim"})


def test_thread_count_is_put_back(installed: Path) -> None:
    before = torch.get_num_threads()
    cheng2020.encode(_photo(64, 64), 2, SETTINGS | {"threads": before + 1})
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("change", ["cut", "flipped", "empty", "size"])
def test_damaged_bitstream_is_refused(installed: Path, change: str) -> None:
    good = cheng2020.encode(_photo(64, 64), 2, SETTINGS).bitstream
    flipped = good[:20] + bytes([good[20] ^ 1]) + good[21:]
    bad = {"cut": good[:-4], "flipped": flipped, "empty": b"", "size": good}[change]
    with pytest.raises(CodecError):
        cheng2020.decode(bad, (64, 65) if change == "size" else (64, 64), SETTINGS)


def test_other_weights_are_refused(installed: Path, state: dict[str, Any]) -> None:
    good = cheng2020.encode(_photo(64, 64), 2, SETTINGS).bitstream
    torch.save(state | {"g_s.0.conv_b.3.bias": torch.ones(24)}, installed)
    with pytest.raises(CodecError, match="weights"):
        cheng2020.decode(good, (64, 64), SETTINGS)


def test_forged_checksum_cannot_make_the_coder_read_on(oracle: Any, tmp_path: Path) -> None:
    torch.save(oracle.state_dict(), tmp_path / "w.pth.tar")
    with learned.steady(1):
        net = cheng2020_model.network(tmp_path / "w.pth.tar", "attn", "cpu")
        assert net.latents((b"\xff" * 64, b"\x0f" * 64), (64, 64)).shape == (1, 24, 4, 4)


def test_half_precision_safetensors_load(state: dict[str, Any], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    half = {
        key: value.half() if value.is_floating_point() else value
        for key, value in state.items()
        if "cdf" not in key and "offset" not in key and "scale_table" not in key
    }
    save_file(half, tmp_path / "w.safetensors")
    model = cheng2020_model.load(tmp_path / "w.safetensors", "attn")
    assert model.N == 24
    assert torch.equal(model.g_a[0].conv1.weight, state["g_a.0.conv1.weight"].half().float())
    whole = state["gaussian_conditional._quantized_cdf"]
    assert torch.equal(model.gaussian_conditional.quantized_cdf, whole)


class _Evil:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("cirbench-was-here",))


def _unusable(kind: str, path: Path, state: dict[str, Any]) -> None:
    key = "gaussian_conditional._quantized_cdf"
    contents: dict[str, Any] = {
        "shapes": state | {"h_a.0.weight": torch.zeros(3, 3)},
        "missing": {name: value for name, value in state.items() if "h_s" not in name},
        "other model": {"weight": torch.zeros(3)},
        "not a number": state | {"h_a.0.bias": torch.full((24,), torch.nan)},
        "huge": state | {"extra": torch.zeros(1).expand(10**9)},
        "tables": state | {key: state[key].flip(1)},
        "malicious": {"state_dict": _Evil()},
    }
    if kind == "malicious pickle":
        path.write_bytes(pickle.dumps(_Evil(), protocol=2))
    elif kind == "text":
        path.write_text("<html>404</html>")
    elif kind == "truncated":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:-5000])
    else:
        torch.save(contents[kind], path)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("shapes", "h_a.0.weight"),
        ("missing", "h_s"),
        ("other model", "analysis"),
        ("not a number", "finite"),
        ("huge", "larger"),
        ("tables", "entropy tables"),
        ("malicious", "mkdir"),
        ("malicious pickle", "mkdir"),
        ("text", "read"),
        ("truncated", "read"),
    ],
)
def test_unusable_weights_are_refused_in_one_sentence(
    state: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    word: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pth.tar"
    _unusable(kind, path, state)
    with pytest.raises(CirbenchError, match=word) as caught:
        cheng2020_model.load(path, "attn")
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


def test_weights_of_the_other_architecture_are_refused(
    state: dict[str, Any], tmp_path: Path
) -> None:
    torch.save(state, tmp_path / "w.pth.tar")
    with pytest.raises(CirbenchError, match="cheng2020-anchor"):
        cheng2020_model.load(tmp_path / "w.pth.tar", "anchor")


def test_probe_without_weights_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CIRBENCH_WEIGHTS", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    probe = cheng2020.probe(SETTINGS)
    assert not probe.available
    assert "cirbench weights pull cheng2020-attn-mse-q1" in probe.hint
    with pytest.raises(UnavailableError, match="cheng2020_attn-mse-2"):
        cheng2020.encode(_photo(8, 8), 2, SETTINGS)


def test_probe_names_versions(installed: Path) -> None:
    probe = cheng2020.probe(SETTINGS)
    assert probe.available
    assert "torch" in probe.version and "compressai" in probe.version


def test_probe_without_torch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    probe = cheng2020.probe(SETTINGS)
    assert not probe.available
    assert "cirbench[learned]" in probe.hint


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.binary(max_size=3))
def test_varint_round_trip(number: int, rest: bytes) -> None:
    coded = cheng2020._varint(number)
    assert cheng2020._read_varint(coded + rest) == (number, len(coded))
