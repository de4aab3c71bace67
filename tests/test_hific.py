"""HiFiC with tiny random models: what its encoder, its decoder and its entropy coder make."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
from cirbench.codecs import torch_compat  # noqa: E402

torch_compat.import_torchvision()
pytest.importorskip("compressai")

from tiny_hific import LOW, MED, args_of, model_of, save, save_all  # noqa: E402

from cirbench import weights  # noqa: E402
from cirbench.codecs import hific, hific_entropy, hific_model  # noqa: E402
from cirbench.codecs.base import RGB  # noqa: E402
from cirbench.errors import CodecError, UnavailableError  # noqa: E402

Samples = NDArray[np.float64]
SETTINGS = {"encoder": "cirbench", "weights": "published", "device": "cpu", "threads": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_all(tmp_path_factory.mktemp("weights"))


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("CIRBENCH_WEIGHTS", str(folder))


def photo(height: int, width: int) -> RGB:
    noise = np.random.default_rng(1).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3))
    return np.kron(noise, np.ones((8, 8, 1)))[:height, :width].astype(np.uint8)


@pytest.mark.parametrize("level", ["low", "med", "high"])
@pytest.mark.parametrize("size", [(1, 1), (2, 90), (31, 17), (80, 80), (100, 145)])
def test_decoder_gives_the_encoders_picture_at_any_size(level: str, size: tuple[int, int]) -> None:
    coded = hific.encode(photo(*size), level, SETTINGS)
    decoded = hific.decode(coded.bitstream, size, SETTINGS)
    assert coded.reconstruction is not None
    assert decoded.dtype == np.uint8 and decoded.shape == (*size, 3)
    np.testing.assert_array_equal(decoded, coded.reconstruction)
    assert coded.bitstream == hific.encode(photo(*size), level, SETTINGS).bitstream


@pytest.mark.parametrize(("level", "config"), [("low", LOW), ("med", MED)])
def test_the_picture_is_the_generators_for_the_rounded_latents(
    level: str, config: hific_model.Config
) -> None:
    """Written out once more, with no stretch of its range to 0..255."""
    model, rgb = model_of(config), photo(96, 112)
    x = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
    y = model.Encoder(2 * x - 1 if config.signed else x)
    assert y.shape[2:] == (6, 7)
    y = torch.from_numpy(np.pad(y.numpy(), ((0, 0), (0, 0), (0, 2), (0, 1)), mode="reflect"))
    z = torch.floor(model.Hyperprior.analysis_net(y) + 0.5)
    mean = model.Hyperprior.synthesis_mu(z)
    image = model.Generator(torch.floor(y - mean + 0.5) + mean)
    image = (torch.tanh(image) + 1) / 2 if config.signed else image
    expected = (image.clamp(0, 1)[0, :, :96, :112].permute(1, 2, 0) * 255).numpy()
    reconstruction = hific.encode(rgb, level, SETTINGS).reconstruction
    assert reconstruction is not None and np.ptp(reconstruction) > 50
    assert np.abs(reconstruction - expected).max() < 0.51


def test_channel_norm_and_the_one_sided_padding() -> None:
    x = torch.randn(2, 5, 6, 8)
    norm = hific_model.ChannelNorm(5)
    norm.gamma.data.uniform_()
    norm.beta.data.uniform_()
    a = x.numpy().astype(np.float64)
    plain = (a - a.mean(1, keepdims=True)) / np.sqrt(a.var(1, ddof=1, keepdims=True) + 1e-3)
    expected = plain * norm.gamma.detach().numpy() + norm.beta.detach().numpy()
    np.testing.assert_allclose(norm(x).detach().numpy(), expected, atol=1e-6)
    padded = hific_model.Encoder(LOW).get_submodule("conv_block2.0")(x).numpy()
    np.testing.assert_array_equal(padded[..., 1:, :-1], x)
    np.testing.assert_array_equal(padded[..., 0, :-1], x[..., 1, :])
    np.testing.assert_array_equal(padded[..., 1:, -1], x[..., -2])


def test_full_size_has_the_public_checkpoints_layout() -> None:
    with torch.device("meta"):
        state = hific_model.HiFiC(hific_model.Config()).state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert shapes["Encoder.conv_block1.1.weight"] == (60, 3, 7, 7)
    assert shapes["Encoder.conv_block5.2.gamma"] == (1, 960, 1, 1)
    assert shapes["Encoder.conv_block_out.1.weight"] == (220, 960, 3, 3)
    assert shapes["Generator.conv_block_init.0.beta"] == (1, 220, 1, 1)
    assert shapes["Generator.resblock_8.conv2.weight"] == (960, 960, 3, 3)
    assert shapes["Generator.upconv_block1.0.weight"] == (960, 480, 3, 3)
    assert shapes["Generator.conv_block_out.1.bias"] == (3,)
    assert shapes["Hyperprior.analysis_net.conv3.weight"] == (320, 320, 5, 5)
    assert shapes["Hyperprior.synthesis_std.conv3.weight"] == (320, 220, 3, 3)
    assert shapes["Hyperprior.hyperlatent_likelihood.H_1"] == (320, 3, 3)
    assert len(shapes) == PUBLIC_TENSORS
    assert sum(math.prod(shape) for shape in shapes.values()) == PUBLIC_PARAMETERS


# Counted in the public implementation's model (encoder, generator and hyperprior).
PUBLIC_TENSORS = 148
PUBLIC_PARAMETERS = 181_475_663


def test_gaussian_tables_are_compressais() -> None:
    from compressai.entropy_models import GaussianConditional

    theirs = GaussianConditional(hific_entropy.SCALES.tolist(), tail_mass=hific_entropy.TAIL)
    theirs.update()
    ours = hific_entropy.latent_tables("gaussian")
    assert ours.sizes == theirs.cdf_length.tolist() and ours.offsets == theirs.offset.tolist()
    for mine, size, row in zip(ours.cdfs, ours.sizes, theirs.quantized_cdf, strict=True):
        assert np.abs(np.array(mine) - row[:size].numpy()).max() <= 3  # float32 there
    scales = torch.linspace(0, 300, 5000).clamp(min=hific_model.MIN_SCALE)
    indexes = theirs.build_indexes(scales).numpy()
    np.testing.assert_array_equal(hific_entropy.latent_indexes(scales), indexes)


def test_logistic_tables_follow_the_logistic_distribution() -> None:
    logistic = pytest.importorskip("scipy.stats").logistic

    tables = hific_entropy.latent_tables("logistic")
    for number in (0, 20, 40):
        cdf, scale = np.array(tables.cdfs[number]), hific_entropy.SCALES[number]
        edges = tables.offsets[number] + np.arange(tables.sizes[number] - 1) - 0.5
        assert (np.diff(cdf) > 0).all() and cdf[-1] == 2**16
        np.testing.assert_allclose(cdf[:-1] / 2**16, logistic.cdf(edges / scale), atol=1e-3)


def density(config: hific_model.Config, x: Samples, channel: int) -> Samples:
    """P(Z <= x), Ballé et al. 2018, equations 32 to 37, in numpy."""
    net = model_of(config).Hyperprior.hyperlatent_likelihood
    values = x[None]
    for k in range(4):
        weight, gate, bias = (
            net.get_parameter(f"{name}_{k}")[channel].double().numpy() for name in "Hab"
        )
        values = np.logaddexp(0, weight) @ values + bias
        values = values + np.tanh(gate) * np.tanh(values)
    probability: Samples = 1 / (1 + np.exp(-values[0]))
    return probability


def test_hyper_tables_follow_the_learned_density() -> None:
    tables = hific_entropy.hyper_tables(model_of(LOW).Hyperprior.hyperlatent_likelihood)
    assert len(tables.cdfs) == LOW.hyper
    for channel, cdf in enumerate(tables.cdfs):
        edges = tables.offsets[channel] + np.arange(len(cdf) - 1) - 0.5
        expected = density(LOW, edges, channel)
        expected[0] = 0  # what lies below the table is escaped
        np.testing.assert_allclose(np.array(cdf[:-1]) / 2**16, expected, atol=4e-3)


@pytest.mark.parametrize("likelihood", ["gaussian", "logistic"])
def test_the_stream_is_as_short_as_the_model_says(likelihood: str) -> None:
    stats = pytest.importorskip("scipy.stats")

    rng = np.random.default_rng(3)
    law = {"gaussian": stats.norm, "logistic": stats.logistic}[likelihood]
    indexes = rng.integers(0, 50, 60_000).astype(np.int32)
    scales = hific_entropy.SCALES[indexes]
    symbols = np.rint(law.rvs(scale=scales, random_state=rng)).astype(np.int32)
    likelihoods = law.cdf((symbols + 0.5) / scales) - law.cdf((symbols - 0.5) / scales)
    writer = hific_entropy.Writer()
    writer.add(symbols, indexes, hific_entropy.latent_tables(likelihood))
    bits = 8 * len(writer.stream())
    assert bits == pytest.approx(-np.log2(likelihoods).sum(), rel=0.005)


def test_symbols_outside_the_tables_survive() -> None:
    tables = hific_entropy.latent_tables("gaussian")
    symbols = np.array([0, 2**15, -(2**15), 9, -9, 1], np.int32)
    indexes = np.array([0, 0, 63, 0, 1, 63], np.int32)
    writer = hific_entropy.Writer()
    writer.add(symbols, indexes, tables)
    np.testing.assert_array_equal(
        hific_entropy.Reader(writer.stream()).take(indexes, tables), symbols
    )


def test_damaged_or_foreign_bitstreams_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stream = hific.encode(photo(40, 40), "low", SETTINGS).bitstream
    bad = [b"", stream[:20], stream + b"\0", b"\x09" + stream[1:], b"\x01" + stream[1:]]
    for one in [*bad, stream[:30] + bytes([stream[30] ^ 1]) + stream[31:]]:
        with pytest.raises(CodecError):
            hific.decode(one, (40, 40), SETTINGS)
    with pytest.raises(CodecError, match="48x40"):
        hific.decode(stream, (40, 48), SETTINGS)
    save(tmp_path / weights.record("hific-low").file, MED)
    monkeypatch.setenv("CIRBENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(CodecError, match="use the weights its manifest row names"):
        hific.decode(stream, (40, 40), SETTINGS)


def test_threads_are_set_for_the_call_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    original = hific_model.HiFiC.image

    def image(self: Any, y: Any) -> Any:
        seen.append(torch.get_num_threads())
        return original(self, y)

    monkeypatch.setattr(hific_model.HiFiC, "image", image)
    before = torch.get_num_threads()
    hific.encode(photo(16, 16), "low", SETTINGS | {"threads": before + 1})
    assert seen == [before + 1] and torch.get_num_threads() == before


def test_mini_weights_code_and_decode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = {key: value.half() for key, value in model_of(LOW).state_dict().items()}
    save_file(state, tmp_path / "m.safetensors", {"args": json.dumps(args_of(LOW))})
    mini = replace(weights.record("hific-low"), name="m", kind="mini", file="m.safetensors")
    monkeypatch.setattr(weights, "records", lambda: (mini,))
    monkeypatch.setattr(weights, "mini_dir", lambda: tmp_path)
    settings = SETTINGS | {"weights": "mini"}
    coded = hific.encode(photo(30, 50), "low", settings)
    assert coded.weights == ("m", weights.sha256(tmp_path / "m.safetensors"))
    assert coded.reconstruction is not None
    decoded = hific.decode(coded.bitstream, (30, 50), settings)
    np.testing.assert_array_equal(decoded, coded.reconstruction)


def test_missing_weights_and_libraries_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert hific.probe(SETTINGS).available
    for name in ("CIRBENCH_WEIGHTS", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    with pytest.raises(UnavailableError, match="cirbench weights pull hific-med"):
        hific.encode(photo(8, 8), "med", SETTINGS)
    assert "weights pull hific-low" in hific.probe(SETTINGS).hint
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'cirbench[learned]'" in hific.probe(SETTINGS).hint


def test_the_weights_and_the_likelihood_are_on_record(folder: Path) -> None:
    coded = hific.encode(photo(16, 16), "med", SETTINGS)
    digest = weights.sha256(folder / weights.record("hific-med").file)
    assert coded.weights == ("hific-med", digest)
    assert coded.args == "latents 6 logistic"


def test_config_defaults_are_the_papers() -> None:
    assert asdict(hific_model.Config())["encoder"] == (60, 120, 240, 480, 960)
