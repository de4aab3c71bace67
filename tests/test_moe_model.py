"""The assembled model: frozen parts, injections that start at zero, ablations, stages."""

from __future__ import annotations

import copy
import inspect

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from cirbench.errors import CirbenchError  # noqa: E402
from cirbench.models.moe_diffir import presets  # noqa: E402
from cirbench.models.moe_diffir.config import from_dict, to_dict  # noqa: E402
from cirbench.models.moe_diffir.model import Condition, MoEDiffIR  # noqa: E402
from cirbench.models.moe_diffir.parts import counts, parts, set_stage, table, trainable  # noqa: E402
from cirbench.models.moe_diffir.sampler import forward_process, training_pair  # noqa: E402

STAGE_1 = {"prompt_module", "spade", "enhancer", "v2t"}


def build(**changes) -> MoEDiffIR:
    torch.manual_seed(0)
    return MoEDiffIR(from_dict(changes, presets.micro()))


def shaken(model: MoEDiffIR) -> MoEDiffIR:
    """Small random numbers everywhere: nothing is zero by initialisation."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture
def lq() -> torch.Tensor:
    torch.manual_seed(2)
    return torch.rand(2, 3, 32, 32)


def stage_1_loss(model: MoEDiffIR, lq: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        latents = model.encode(lq.flip(-1))
    noise, t = torch.randn_like(latents), torch.tensor([10, 700])
    noisy, target = training_pair(forward_process(model.config.schedule), latents, noise, t)
    condition = model.condition(lq)
    answer = model.predict(noisy, t, condition)
    return (answer - target).square().mean() + model.balance_loss(condition)


def test_new_spade_layers_leave_the_frozen_unet_unchanged(lq: torch.Tensor) -> None:
    from diffusers import UNet2DConditionModel

    model = build().eval()
    plain = UNet2DConditionModel(**model.config.unet).eval()
    plain.load_state_dict(model.unet.state_dict())
    noisy, t = torch.randn(2, 4, 8, 8), torch.tensor([3, 900])
    with torch.no_grad():
        condition = model.condition(lq)
        expected = plain(noisy, t, encoder_hidden_states=condition.context).sample
        assert torch.equal(model.predict(noisy, t, condition), expected)
        torch.nn.init.normal_(model.spade.layers[0].gamma_beta.weight)
        assert not torch.allclose(model.predict(noisy, t, condition), expected)
        # and without features the layers are out again
        assert torch.equal(model.predict(noisy, t, Condition([], condition.context, [])), expected)


def test_spade_is_in_every_residual_block_of_middle_and_up_blocks_and_in_no_other() -> None:
    model = build()
    hooked = {name for name, one in model.unet.named_modules() if one._forward_hooks}
    expected = {
        name
        for name, _ in model.unet.named_modules()
        if name.endswith(".conv2") and name.startswith(("mid_block.", "up_blocks."))
    }
    assert hooked == expected
    assert len(model.spade.layers) == len(expected)
    assert len(model.spade.state_dict()) == 4 * len(expected)


def test_compensator_with_weight_0_is_the_plain_decoder(lq: torch.Tensor) -> None:
    model = shaken(build()).eval()
    with torch.no_grad():
        latents = model.encode(lq)
        plain = model.decode(latents)
        assert torch.equal(model.compensate(latents, lq, 0.0), plain)
        half, full = (model.compensate(latents, lq, weight) for weight in (0.5, 1.0))
        assert not torch.allclose(half, plain) and not torch.allclose(half, full)
        assert not torch.allclose(model.compensate(latents, 1 - lq), full)  # it reads the LQ image
        assert torch.equal(model.decode(latents), plain)  # and leaves nothing behind


def test_a_new_compensator_starts_at_the_plain_decoder(lq: torch.Tensor) -> None:
    model = build(compensator={"image": 0}).eval()
    with torch.no_grad():
        latents = model.encode(lq)
        assert torch.equal(model.compensate(latents, lq), model.decode(latents))


def test_image_fusion_starts_at_the_lq_image(lq: torch.Tensor) -> None:
    model = build().eval()
    with torch.no_grad():
        latents = model.encode(lq)
        plain = model.decode(latents)
        torch.testing.assert_close(model.compensate(latents, lq), lq)
        torch.testing.assert_close(model.compensate(latents, lq, 0.5), (plain + lq) / 2)


def test_stage_1_trains_its_parts_and_no_other(lq: torch.Tensor) -> None:
    model = shaken(build())
    trained = set_stage(model, 1)
    before = {name: copy.deepcopy(part.state_dict()) for name, part in parts(model).items()}
    model.train()
    optimizer = torch.optim.Adam(trained, lr=1e-3)
    stage_1_loss(model, lq).backward()
    for name, part in parts(model).items():
        reached = [one.grad is not None and bool(one.grad.any()) for one in part.parameters()]
        assert any(reached) == (name in STAGE_1), name
        assert all(one.grad is None for one in part.parameters() if name not in STAGE_1)
    optimizer.step()
    for name, part in parts(model).items():
        same = all(
            torch.equal(value, before[name][key]) for key, value in part.state_dict().items()
        )
        assert same == (name not in STAGE_1), name


def test_every_parameter_of_stage_1_gets_a_gradient(lq: torch.Tensor) -> None:
    model = shaken(build())
    set_stage(model, 1)
    model.train()
    stage_1_loss(model, lq).backward()
    idle = [
        name
        for name, one in model.named_parameters()
        if one.requires_grad and (one.grad is None or not one.grad.any())
    ]
    assert idle == []


def test_stage_2_trains_the_compensator_only(lq: torch.Tensor) -> None:
    model = shaken(build())
    set_stage(model, 2)
    model.train()
    latents = torch.randn(2, 4, 8, 8)
    (model.compensate(latents, lq) - lq).abs().mean().backward()
    reached = {name.split(".")[0] for name, one in model.named_parameters() if one.grad is not None}
    assert reached == {"compensator"}
    assert all(one.grad.any() for one in model.compensator.parameters())


def test_stage_0_trains_the_prior(lq: torch.Tensor) -> None:
    model = shaken(build())
    set_stage(model, 0)
    model.train()
    latents = model.encode(lq)
    t = torch.tensor([5, 600])
    told = Condition([], model.describe(latents), [])
    loss = model.decode(latents).mean() + model.predict(latents, t, told).mean()
    loss = loss + model.predict(latents, t, None).mean()
    codec, level = model.prior.labels(model.prior(lq))
    assert codec.shape == (2, 7) and level.shape == (2, 3)
    (loss + codec.sum() + level.sum()).backward()
    reached = {name.split(".")[0] for name, one in model.named_parameters() if one.grad is not None}
    assert reached == {"vae", "unet", "null_context", "prior", "visual", "v2t"}


def test_stages_name_the_parts_of_the_paper_the_adapter_among_them() -> None:
    model = build()
    assert set(trainable(model, 1)) == STAGE_1  # the release froze v2t by accident
    assert trainable(model, 2) == ("compensator",)
    set_stage(model, 1)
    text = table(counts(model))
    assert f"{sum(one.numel() for one in model.v2t.parameters()):,}" in text
    assert sum(row.trained for row in counts(model)) == sum(
        one.numel() for name in STAGE_1 for one in parts(model)[name].parameters()
    )


def test_frozen_parts_stay_in_evaluation_mode() -> None:
    model = build().train()
    assert not model.prompt_module.training  # no stage was chosen: no router noise
    set_stage(model, 2)
    model.train()
    modes = {name: part.training for name, part in parts(model).items()}
    assert [name for name, mode in modes.items() if mode] == ["compensator"]


def test_router_noise_is_on_in_stage_1_and_off_afterwards(lq: torch.Tensor) -> None:
    model = shaken(build())
    set_stage(model, 1)
    with torch.no_grad():
        model.train()
        one, other = (model.condition(lq).features[0] for _ in range(2))
        assert not torch.equal(one, other)
        model.eval()
        one, other = (model.condition(lq).features[0] for _ in range(2))
        assert torch.equal(one, other)


def test_gradient_checkpointing_gives_the_same_gradients(lq: torch.Tensor) -> None:
    found = []
    for checkpointed in (False, True):
        model = shaken(build(prompt="multiple"))
        set_stage(model, 1)
        if checkpointed:
            model.unet.enable_gradient_checkpointing()
            model.unet.train()  # diffusers checkpoints in training mode only
        torch.manual_seed(5)
        stage_1_loss(model, lq).backward()
        found.append([one.grad for one in model.parameters() if one.grad is not None])
    assert len(found[0]) == len(found[1])
    assert all(torch.allclose(*pair, atol=1e-6) for pair in zip(*found, strict=True))


def test_nothing_takes_a_task() -> None:
    """The release indexes its gates by the ground-truth task; here there is no way to."""
    for method in (MoEDiffIR.condition, MoEDiffIR.predict, MoEDiffIR.sample):
        assert not {"task", "task_id", "codec", "level"} & set(inspect.signature(method).parameters)
    assert not any("task" in name for name, _ in build().named_modules())


ABLATIONS = [
    {"prompt": "none"},
    {"prompt": "single"},
    {"prompt": "multiple"},
    {"degradation_prior": False},
    {"v2t": False},
    {"prompt": "none", "degradation_prior": False, "v2t": False},
    {"experts": 1, "top_k": 1},
    {"experts": 21, "top_k": 7},
    {"routing": "image"},
    {"balance_weight": 0.01},
]


@pytest.mark.parametrize("changes", ABLATIONS, ids=str)
def test_every_ablation_trains(changes: dict, lq: torch.Tensor) -> None:
    model = build(**changes)
    trained = set_stage(model, 1)
    model.train()
    optimizer = torch.optim.Adam(trained, lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        loss = stage_1_loss(model, lq)
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss)
    names = set(parts(model))
    assert ("prior" in names) == model.config.degradation_prior
    assert ("v2t" in names) == ("enhancer" in names) == ("visual" in names) == model.config.v2t


def test_balance_loss_counts_only_when_asked(lq: torch.Tensor) -> None:
    with torch.no_grad():
        model = build().eval()
        assert model.balance_loss(model.condition(lq)) == 0
        model = build(balance_weight=0.5).eval()
        # undecided router: every probability is 1 / N, so the loss is 1 whoever was chosen
        assert model.balance_loss(model.condition(lq)).item() == pytest.approx(0.5)


def test_a_copy_is_independent(lq: torch.Tensor) -> None:
    model = shaken(build()).eval()
    twin = copy.deepcopy(model)
    noisy, t = torch.randn(2, 4, 8, 8), torch.tensor([3, 900])
    with torch.no_grad():
        expected = twin.predict(noisy, t, twin.condition(lq))
        assert torch.equal(model.predict(noisy, t, model.condition(lq)), expected)
        for parameter in model.parameters():
            parameter.zero_()
        assert torch.equal(twin.predict(noisy, t, twin.condition(lq)), expected)


def test_config_goes_through_a_dictionary_and_back() -> None:
    for config in (presets.tiny(), presets.micro()):
        assert to_dict(from_dict(to_dict(config))) == to_dict(config)
    changed = from_dict({"sampler.steps": 5, "prompt": "single"}, presets.tiny())
    assert (changed.sampler.steps, changed.sampler.kind, changed.prompt) == (5, "ddim", "single")


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"prompt": "lots"}, "multiple"),
        ({"promt": "moe"}, "promt"),
        ({"top_k": 8}, "experts"),
        ({"top_k": "3"}, "top_k"),
        ({"sampler.kind": "euler"}, "unipc"),
        ({"sampler": 5}, "sampler"),
        ({"compensator.levels": [9]}, "levels"),
        ({"overlap": 64}, "tile"),
        ({"schedule.prediction_type": "epsilon"}, "v_prediction"),
    ],
)
def test_wrong_settings_are_named(values: dict, word: str) -> None:
    with pytest.raises(CirbenchError, match=word):
        build(**values)


def test_tiny_is_small() -> None:
    with torch.device("meta"):
        tiny = {row.name: row.parameters for row in counts(MoEDiffIR(presets.tiny()))}
    assert sum(tiny[name] for name in ("vae", "unet", "prior", "visual")) <= 12e6


def test_paper_has_the_papers_sizes() -> None:
    pytest.importorskip("open_clip")
    with torch.device("meta"):
        model = MoEDiffIR(presets.paper())
    found = {row.name: row.parameters for row in counts(model)}
    assert found["unet"] == 865_910_724  # SD 2.1-base
    assert found["vae"] == 83_653_863
    scale = model.prompt_module.scales[0]
    assert scale.prompts.matrices.shape == (7, 256, 256)
    assert scale.router.gate.weight.shape == (14, 256)
    assert len(model.prompt_module.scales) == 4
    assert (model.v2t.positions.shape, model.visual.channels) == ((49, 1024), 2048)
    assert model.prior.width == 768
