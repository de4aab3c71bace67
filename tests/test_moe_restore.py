"""Restoring images: seeds, batches, sizes, tiles, samplers, checkpoints, the contract."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from cirbench.errors import CirbenchError  # noqa: E402
from cirbench.models.moe_diffir import checkpoint, presets, sampler  # noqa: E402
from cirbench.models.moe_diffir.config import SAMPLERS, SamplerConfig, from_dict  # noqa: E402
from cirbench.models.moe_diffir.model import MoEDiffIR  # noqa: E402
from cirbench.models.moe_diffir.restore import loads, restore  # noqa: E402
from cirbench.models.moe_diffir.restorer import Restorer, create  # noqa: E402
from cirbench.models.moe_diffir.tiles import Plan  # noqa: E402
from cirbench.models.restorer import restore_rgb  # noqa: E402


def build(**changes) -> MoEDiffIR:
    torch.manual_seed(0)
    model = MoEDiffIR(from_dict(changes, presets.micro()))
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> MoEDiffIR:
    return build()


@pytest.fixture
def image(photo: np.ndarray) -> torch.Tensor:
    """(1, 3, 96, 128) in [0, 1]."""
    return torch.from_numpy(photo.copy()).movedim(-1, 0)[None] / 255


def test_a_result_depends_on_its_seed_and_not_on_its_batch(
    model: MoEDiffIR, image: torch.Tensor
) -> None:
    batch = torch.cat([image, image.flip(-1), image])[..., :64, :64]
    made = restore(model, batch, seeds=[5, 6, 7])
    assert torch.equal(made[1:2], restore(model, batch[1:2], seeds=[6]))
    assert torch.equal(made.flip(0), restore(model, batch.flip(0), seeds=[7, 6, 5]))
    assert not torch.equal(made[0], made[2])  # same image, another seed


def test_ddpm_noise_is_also_the_images_own(model: MoEDiffIR, image: torch.Tensor) -> None:
    batch = torch.cat([image, image.flip(-1)])[..., :64, :64]
    ddpm = SamplerConfig("ddpm", 3)
    made = restore(model, batch, seeds=[5, 6], sampler=ddpm)
    assert torch.equal(made[1:], restore(model, batch[1:], seeds=[6], sampler=ddpm))
    condition = model.condition(batch)
    pair = sampler.sample(
        lambda x, t: model.predict(x, t, condition).detach(),
        (4, 16, 16),
        [5, 6],
        ddpm,
        model.config.schedule,
    )
    single = model.condition(batch[1:])
    alone = sampler.sample(
        lambda x, t: model.predict(x, t, single).detach(),
        (4, 16, 16),
        [6],
        ddpm,
        model.config.schedule,
    )
    assert torch.allclose(pair[1:], alone, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (7, 33), (49, 65), (64, 64), (96, 127)])
def test_any_size_comes_back_in_its_size(
    model: MoEDiffIR, image: torch.Tensor, size: tuple[int, int]
) -> None:
    made = restore(model, image[..., : size[0], : size[1]], seeds=[1])
    assert made.shape[2:] == size
    assert made.dtype == torch.float32 and made.min() >= 0 and made.max() <= 1


def test_training_mode_is_left_so_that_router_noise_is_off(image: torch.Tensor) -> None:
    from cirbench.models.moe_diffir.parts import set_stage

    model = build()
    set_stage(model, 1)
    model.train()
    first = restore(model, image[..., :64, :64], seeds=[1])
    model.train()
    assert torch.equal(first, restore(model, image[..., :64, :64], seeds=[1]))


def test_tiles_of_a_local_network_give_the_untiled_result(image: torch.Tensor) -> None:
    """A network of one convolution: tiles differ at their seams only, and hardly there."""
    model = build()
    torch.manual_seed(0)
    kernel = torch.randn(4, 8, 3, 3) * 0.2

    def predict(noisy, t, condition):
        both = torch.cat([noisy, condition.features[0][:, :4]], 1)
        return torch.nn.functional.conv2d(both, kernel, padding=1)

    class Local(torch.nn.Module):
        def forward(self, latents, prior):
            return [latents, latents], []

    up = torch.nn.functional.interpolate
    model.encode = lambda x: x[:, [0, 1, 2, 0], ::4, ::4]
    model.prompt_module = Local()
    model.predict = predict
    model.compensate = lambda z, lq, w: up(z[:, :3], scale_factor=4) + lq
    whole = restore(model, image, seeds=[3], tile=128)
    tiled = restore(model, image, seeds=[3], tile=48)
    # One step's reach is 1 latent; the borders of tiles have small weights, not none.
    assert (whole - tiled).abs().mean() < 0.02
    margin = (whole - tiled).abs()[..., :16, :16]
    assert margin.max() < 1e-5  # far from any seam: equal


def test_tiled_is_close_to_untiled(model: MoEDiffIR, image: torch.Tensor) -> None:
    whole = restore(model, image, seeds=[3], tile=128)
    tiled = restore(model, image, seeds=[3], tile=64)
    other = restore(model, image, seeds=[4], tile=128)
    difference = (whole - tiled).square().mean()
    assert difference < 0.3 * (whole - other).square().mean()
    assert difference < 0.01  # 20 dB, with random weights


def test_blending_puts_pieces_back_exactly() -> None:
    latents = torch.rand(1, 4, 23, 31)
    plan = Plan(23, 31, 8, 3, 4)
    assert torch.allclose(plan.blend(plan.cut(latents).split(5)), latents, atol=1e-6)
    image = torch.rand(1, 3, 92, 124)
    assert torch.allclose(plan.blend([plan.cut(image, 4)], 4), image, atol=1e-6)
    assert plan.cut(image, 4).shape[2:] == (32, 32)
    whole = Plan(6, 8, 8, 3, 4)
    assert len(whole.boxes) == 1 and torch.equal(
        whole.blend([latents[..., :6, :8]]), latents[..., :6, :8]
    )


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_samplers_find_the_image_when_the_network_is_perfect(kind: str, prediction: str) -> None:
    schedule = replace(
        presets.paper().schedule,
        prediction_type=prediction,
        rescale_betas_zero_snr=prediction != "epsilon",
    )
    process = sampler.forward_process(schedule)
    truth = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))

    def predict(noisy, t):
        kept = process.alphas_cumprod[t][:, None, None, None]
        noise = (noisy - kept.sqrt() * truth) / (1 - kept).sqrt()
        return sampler.training_pair(process, truth, noise, t)[1]

    made = sampler.sample(predict, (4, 4, 4), [1, 2], SamplerConfig(kind, 10), schedule)
    assert (made - truth).abs().max() < 0.1


@pytest.mark.parametrize("kind", SAMPLERS)
def test_sampling_starts_at_the_last_training_step(kind: str) -> None:
    for steps in (1, 2, 10, 200):
        made = sampler.solver(SamplerConfig(kind, steps), presets.paper().schedule)
        assert made.timesteps[0] == 999
        assert len(made.timesteps) == steps


def test_training_pairs_are_equation_2() -> None:
    schedule = presets.paper().schedule
    process = sampler.forward_process(schedule)
    beta = np.linspace(schedule.beta_start**0.5, schedule.beta_end**0.5, 1000) ** 2
    kept = np.cumprod(1 - beta)[[0, 400]][:, None, None, None]
    latents, noise = torch.randn(2, 1, 2, 2), torch.randn(2, 1, 2, 2)
    noisy, target = sampler.training_pair(process, latents, noise, torch.tensor([0, 400]))
    expected = np.sqrt(kept) * latents.numpy() + np.sqrt(1 - kept) * noise.numpy()
    assert np.allclose(noisy.numpy(), expected, atol=1e-5)
    assert torch.equal(target, noise)


def test_a_checkpoint_restores_as_the_model_did(
    model: MoEDiffIR, photo: np.ndarray, tmp_path: Path
) -> None:
    model.latent_scale.fill_(0.7)
    checkpoint.save(model, tmp_path / "run", notes={"trained_on": "data/cir"})
    model.latent_scale.fill_(1.0)
    restorer = create(tmp_path / "run", "cpu")
    model.latent_scale.fill_(0.7)
    expected = restore_rgb(Restorer(model), photo, 11)
    model.latent_scale.fill_(1.0)
    made = restore_rgb(restorer, photo, 11)
    assert np.abs(made.astype(int) - expected).max() <= 1  # another memory layout, other rounding
    info = restorer.info()
    assert (info.name, info.trained_on) == ("moe_diffir", "data/cir")
    assert len(info.checkpoint) == 64 and "ddim 3" in info.version
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == [
        "checkpoint.toml",
        "model.safetensors",
    ]


def test_a_partial_checkpoint_fills_a_model_that_has_the_rest(
    model: MoEDiffIR, tmp_path: Path
) -> None:
    checkpoint.save(model, tmp_path, only=["spade", "v2t"])
    with pytest.raises(CirbenchError, match="unet"):
        checkpoint.load(tmp_path)
    other = MoEDiffIR(model.config)
    assert set(checkpoint.load_into(other, tmp_path)) == {"spade", "v2t"}
    assert torch.equal(other.v2t.conv.weight, model.v2t.conv.weight)


def test_unusable_checkpoints_are_named(
    model: MoEDiffIR, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file

    from cirbench.evaluation import checkpoints

    monkeypatch.setattr(checkpoints, "default", lambda: None)
    with pytest.raises(CirbenchError, match="checkpoint"):
        create(None, None)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CirbenchError, match="cannot be read"):
        create(tmp_path, "cpu")
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CirbenchError, match="not a MoE-DiffIR"):
        create(tmp_path, "cpu")
    checkpoint.save(model, tmp_path)
    with pytest.raises(CirbenchError, match="does not fit"):
        checkpoint.load_into(MoEDiffIR(replace(model.config, experts=5)), tmp_path)


def test_the_contract_ignores_a_prompt_and_takes_numpy(
    model: MoEDiffIR, image: torch.Tensor
) -> None:
    lq = image.numpy()[..., :33, :40]
    restorer = Restorer(model)
    made = restorer.restore(lq, seeds=[2**63 - 1])
    assert made.dtype == np.float32 and made.shape == lq.shape
    assert np.array_equal(made, restorer.restore(lq, seeds=[2**63 - 1], prompt="a cat"))


def test_loads_add_up_and_change_nothing(model: MoEDiffIR, image: torch.Tensor) -> None:
    before = restore(model, image, seeds=[1])
    found = loads(model, torch.cat([image, image.flip(-1)]))
    assert [tuple(one.shape) for one in found] == [(2, 7), (2, 7)]
    assert all(torch.allclose(one.sum(-1), torch.tensor(3.0)) for one in found)
    assert torch.equal(before, restore(model, image, seeds=[1]))
    assert loads(build(prompt="single"), image) == []


def test_the_compensator_alone_decodes_the_lq_images_own_latents(
    model: MoEDiffIR, image: torch.Tensor, tmp_path: Path
) -> None:
    from cirbench.models import restorer

    checkpoint.save(model, tmp_path)
    alone = restorer.get("moe_diffir_compensator", tmp_path, "cpu")
    small = image[..., :64, :64]
    made = alone.restore(small.numpy(), seeds=[0] * len(small))
    with torch.no_grad():
        expected = model.eval().compensate(model.encode(small), small).clamp(0, 1)
    assert np.allclose(made, expected.numpy(), atol=1e-3)
    assert alone.info().name == "moe_diffir_compensator"
    odd = image[..., :61, :70].numpy()
    assert alone.restore(odd, seeds=[0] * len(odd)).shape == odd.shape


def test_a_checkpoint_of_stage_1_is_decoded_without_the_compensator(
    model: MoEDiffIR, image: torch.Tensor, tmp_path: Path
) -> None:
    from cirbench.models import restorer

    lq = image[..., :64, :64]
    checkpoint.save(model, tmp_path, notes={"stage": "prompt"})
    whole = create(tmp_path, "cpu")
    made = whole.restore(lq.numpy(), seeds=[3] * len(lq))
    expected = restore(model, lq, seeds=[3] * len(lq), weight=0.0)
    assert np.allclose(made, expected.numpy(), atol=1e-3)
    assert "plain decoder" in whole.info().version and "stage I" in whole.info().remark
    with pytest.raises(CirbenchError, match="train stage 2"):
        restorer.get("moe_diffir_compensator", tmp_path, "cpu")


def test_options_change_the_sampler_and_the_compensators_weight(
    model: MoEDiffIR, image: torch.Tensor, tmp_path: Path
) -> None:
    from cirbench.models import restorer

    checkpoint.save(model, tmp_path)
    options = {"sampler.steps": 2, "compensator.weight": 0.0}
    made = restorer.get("moe_diffir", tmp_path, "cpu", options)
    expected = restore(
        model, image, seeds=[1], sampler=replace(model.config.sampler, steps=2), weight=0.0
    )
    assert np.allclose(made.restore(image.numpy(), seeds=[1]), expected.numpy(), atol=1e-3)
    assert "ddim 2" in made.info().version and "compensator 0" in made.info().version
    with pytest.raises(CirbenchError, match="no option 'sampler.step'.*sampler.steps"):
        restorer.get("moe_diffir", tmp_path, "cpu", {"sampler.step": 2})
    with pytest.raises(CirbenchError, match="'deblock' has no options"):
        restorer.get("deblock", options=options)


def test_a_checkpoint_of_stage_0_restores_nothing(model: MoEDiffIR, tmp_path: Path) -> None:
    checkpoint.save(model, tmp_path, notes={"stage": "unet"})
    with pytest.raises(CirbenchError, match="stage 0 .unet.*--stage 1,2"):
        create(tmp_path, "cpu")
