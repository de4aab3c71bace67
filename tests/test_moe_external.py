"""Loaders of weights that users bring, on tiny random models saved in the published formats."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from cirbench import weights  # noqa: E402
from cirbench.errors import CirbenchError, UnavailableError  # noqa: E402
from cirbench.models.moe_diffir import external, presets  # noqa: E402
from cirbench.models.moe_diffir.config import ModelConfig, PriorConfig, VisualConfig  # noqa: E402
from cirbench.models.moe_diffir.model import Condition, MoEDiffIR  # noqa: E402
from cirbench.models.moe_diffir.restore import restore  # noqa: E402

VIT = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "heads": 1}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}


@pytest.fixture(scope="module")
def stable_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in diffusers layout with a micro UNet and VAE and a real, tiny text encoder."""
    import json

    import diffusers
    import transformers

    folder = tmp_path_factory.mktemp("sd")
    config = presets.micro()
    torch.manual_seed(7)
    diffusers.UNet2DConditionModel(**config.unet).save_pretrained(folder / "unet")
    vae = {**config.vae, "scaling_factor": 0.5}
    diffusers.AutoencoderKL(**vae).save_pretrained(folder / "vae")
    diffusers.DDPMScheduler(
        beta_start=0.001, beta_schedule="scaled_linear", prediction_type="v_prediction"
    ).save_pretrained(folder / "scheduler")
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2, "a": 3}
    (folder / "words").mkdir()
    (folder / "words" / "vocab.json").write_text(json.dumps(words))
    (folder / "words" / "merges.txt").write_text("#version: 0.2\n")
    transformers.CLIPTokenizer(
        str(folder / "words" / "vocab.json"),
        str(folder / "words" / "merges.txt"),
        model_max_length=6,
    ).save_pretrained(folder / "tokenizer")
    text = transformers.CLIPTextConfig(
        vocab_size=4,
        hidden_size=24,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=6,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    transformers.CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    return folder


def test_stable_diffusion_in_diffusers_layout(stable_diffusion: Path) -> None:
    import diffusers

    source = str(stable_diffusion)
    config = external.stable_diffusion_config(replace(presets.micro(), null_tokens=6), source)
    assert config.schedule.beta_start == 0.001
    assert config.schedule.prediction_type == "v_prediction"
    model = MoEDiffIR(config).eval()
    external.load_stable_diffusion(model, source)
    assert model.latent_scale.item() == 0.5
    assert model.null_context.tokens.any()
    plain = diffusers.UNet2DConditionModel.from_pretrained(source, subfolder="unet").eval()
    noisy, t, context = torch.randn(1, 4, 8, 8), torch.tensor([9]), torch.randn(1, 3, 24)
    with torch.no_grad():
        expected = plain(noisy, t, encoder_hidden_states=context).sample
        assert torch.allclose(
            model.predict(noisy, t, Condition([], context, [])), expected, atol=1e-5
        )
    assert restore(model, torch.rand(1, 3, 40, 40), seeds=[0]).shape == (1, 3, 40, 40)


def test_a_folder_that_is_no_stable_diffusion_is_named(tmp_path: Path) -> None:
    with pytest.raises(CirbenchError, match="diffusers layout"):
        external.stable_diffusion_config(presets.micro(), str(tmp_path))


def test_sizes_that_do_not_fit_are_named(stable_diffusion: Path) -> None:
    model = MoEDiffIR(replace(presets.micro(), null_tokens=6))
    unet = {**model.config.unet, "block_out_channels": [8, 32]}
    model = MoEDiffIR(replace(model.config, unet=unet))
    with pytest.raises(CirbenchError, match=r"unet.*has shape"):
        external.load_stable_diffusion(model, str(stable_diffusion))


def daclip_state() -> dict:
    """As DA-CLIP's training saves it: an image tower, and a controller whose transformer is wrapped
    and has a zero-initialised layer per block."""
    from open_clip.transformer import VisionTransformer

    torch.manual_seed(4)
    towers = [VisionTransformer(**VIT, mlp_ratio=4.0, output_dim=16) for _ in range(2)]
    state = {
        f"{name}.{key}": one
        for name in ("clip.visual", "visual")
        for key, one in towers[0].state_dict().items()
    }
    for key, one in towers[1].state_dict().items():
        state["visual_control." + key.replace("transformer.", "transformer.transformer.")] = one
    for index in range(VIT["layers"]):
        state[f"visual_control.transformer.zero_modules.{index}.weight"] = torch.zeros(64, 64)
        state[f"visual_control.transformer.zero_modules.{index}.bias"] = torch.zeros(64)
    state["logit_scale"] = torch.tensor(1.0)
    return state


@pytest.mark.parametrize("wrapped", [False, True])
def test_daclip_controller_from_an_open_clip_state_dict(wrapped: bool, tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    from open_clip.transformer import VisionTransformer

    state = daclip_state()
    file = {"state_dict": {f"module.{key}": one for key, one in state.items()}, "epoch": 3}
    torch.save(file if wrapped else state, tmp_path / "daclip.pt")
    config = replace(presets.micro(), prior=PriorConfig(kind="daclip", args=VIT))
    model = MoEDiffIR(config).eval()
    external.load_daclip(model, tmp_path / "daclip.pt")
    image = torch.rand(2, 3, 48, 40)
    with torch.no_grad():
        found = model.prior(image)
        model.condition(image[..., :40, :])
    tower = VisionTransformer(**VIT, mlp_ratio=4.0, output_dim=16, output_tokens=True).eval()
    control = {
        key.removeprefix("visual_control.").replace("transformer.transformer.", "transformer."): one
        for key, one in state.items()
        if key.startswith("visual_control.") and "zero_modules" not in key
    }
    tower.load_state_dict(control)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    small = torch.nn.functional.interpolate(image, (32, 32), mode="bicubic", antialias=True)
    with torch.no_grad():
        expected = tower((small.clamp(0, 1) - mean) / std)[1]
    assert found.shape == (2, 16, 64)
    assert torch.allclose(found, expected, atol=1e-6)


def test_clip_resnet_from_an_open_clip_state_dict(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    from open_clip.modified_resnet import ModifiedResNet
    from safetensors.torch import save_file

    torch.manual_seed(5)
    whole = ModifiedResNet([1, 1, 1, 1], output_dim=16, heads=4, image_size=64, width=8).eval()
    state = {f"visual.{key}": one.contiguous() for key, one in whole.state_dict().items()}
    state |= {"token_embedding.weight": torch.zeros(3, 3)}
    save_file(state, tmp_path / "rn.safetensors")
    config = replace(presets.micro(), visual=VisualConfig(kind="clip-resnet", args=RESNET))
    model = MoEDiffIR(config).eval()
    external.load_clip(model, tmp_path / "rn.safetensors")
    view = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = whole.layer4(whole.layer3(whole.layer2(whole.layer1(whole.stem(view)))))
        assert torch.allclose(model.visual.network(view), expected, atol=1e-6)
        context = model.condition(torch.rand(1, 3, 32, 32)).context
    assert expected.shape == (1, 256, 2, 2) and context.shape == (1, 4, 24)


def test_clip_vit_from_a_transformers_folder(tmp_path: Path) -> None:
    import transformers

    args = {
        "image_size": 32,
        "patch_size": 8,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    torch.manual_seed(6)
    saved = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**args)).eval()
    saved.save_pretrained(tmp_path)
    config = replace(presets.micro(), visual=VisualConfig(kind="clip-vit", args=args))
    model = MoEDiffIR(config).eval()
    external.load_clip(model, tmp_path)
    view = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected = saved(view).last_hidden_state
        assert torch.allclose(model.visual.network(view).last_hidden_state, expected, atol=1e-6)
        assert model.condition(torch.rand(1, 3, 32, 32)).context.shape == (1, 16, 24)


def test_pixels_reach_the_enhancer_through_decoder_and_clip() -> None:
    pytest.importorskip("open_clip")
    torch.manual_seed(0)
    visual = VisualConfig(kind="clip-resnet", args=RESNET)
    model = MoEDiffIR(replace(presets.micro(), visual=visual)).eval()
    for parameter in model.visual.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    model.condition(torch.rand(1, 3, 32, 32)).context.square().sum().backward()
    assert model.enhancer.conv_out.weight.grad.any()


@pytest.mark.parametrize(
    ("content", "word"), [(None, "no file"), (b"junk", "cannot be read"), ({}, "visual")]
)
def test_files_that_are_no_checkpoint_are_named(content, word: str, tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save({"other": torch.zeros(1)}, path)
    config = replace(presets.micro(), prior=PriorConfig(kind="daclip", args=VIT))
    with pytest.raises(CirbenchError, match=word):
        external.load_daclip(MoEDiffIR(config), path)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    import os

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"a": Evil()}, tmp_path / "weights.pt")
    with pytest.raises(CirbenchError, match="plain weights"):
        external.read_state(tmp_path / "weights.pt")
    assert not (tmp_path / "owned").exists()


@pytest.fixture
def all_external(stable_diffusion: Path, tmp_path: Path) -> dict[str, str]:
    """Everything that :func:`around` needs, as a user would give it."""
    pytest.importorskip("open_clip")
    from open_clip.modified_resnet import ModifiedResNet

    whole = ModifiedResNet([1, 1, 1, 1], output_dim=16, heads=4, image_size=64, width=8)
    torch.save({f"visual.{key}": one for key, one in whole.state_dict().items()}, tmp_path / "c.pt")
    torch.save({"state_dict": daclip_state()}, tmp_path / "d.pt")
    return {
        "stable_diffusion": str(stable_diffusion),
        "clip": str(tmp_path / "c.pt"),
        "da_clip": str(tmp_path / "d.pt"),
    }


def around(source: str) -> MoEDiffIR:
    """The model of :func:`settings`, built as a Stable Diffusion says."""
    return MoEDiffIR(external.stable_diffusion_config(settings(), source))


def settings() -> ModelConfig:
    """The micro model with a CLIP ResNet and DA-CLIP."""
    return replace(
        presets.micro(),
        null_tokens=6,
        visual=VisualConfig(kind="clip-resnet", args=RESNET),
        prior=PriorConfig(kind="daclip", args=VIT),
    )


def test_bring_fills_every_external_part_and_says_with_what(
    all_external: dict[str, str], no_weights: Path
) -> None:
    model = around(all_external["stable_diffusion"])
    used = external.bring(model, all_external)
    assert list(used) == external.needed(settings()) == ["stable_diffusion", "clip", "da_clip"]
    for name in ("clip", "da_clip"):
        digest = weights.sha256(Path(all_external[name]))
        assert used[name] == f"{all_external[name]} (sha256 {digest})"
    assert used["stable_diffusion"].startswith(all_external["stable_diffusion"] + " (tensors sha")
    alone = MoEDiffIR(model.config)
    external.load_stable_diffusion(alone, all_external["stable_diffusion"])
    external.load_clip(alone, Path(all_external["clip"]))
    external.load_daclip(alone, Path(all_external["da_clip"]))
    for name in ("unet", "vae", "null_context", "visual", "prior"):
        theirs = getattr(alone, name).state_dict()
        for key, one in getattr(model, name).state_dict().items():
            assert torch.equal(one, theirs[key]), (name, key)
    ours = {key: one.clone() for key, one in model.prompt_module.state_dict().items()}
    assert external.bring(model, all_external) == used
    assert all(torch.equal(ours[key], one) for key, one in model.prompt_module.state_dict().items())


def test_bring_names_everything_that_is_missing_at_once(
    all_external: dict[str, str], no_weights: Path
) -> None:
    model = around(all_external["stable_diffusion"])
    with pytest.raises(UnavailableError) as caught:
        external.bring(model, {"clip": "nowhere/clip.pt"})
    text = str(caught.value)
    for part in (
        "stable_diffusion: Stable Diffusion 2.1-base (",
        "--set external.stable_diffusion=",
        "nowhere/clip.pt does not exist",
        "cirbench weights pull clip-rn50",
        "cirbench weights pull daclip-vit-b-32",
        str(no_weights),
    ):
        assert part in text
    with pytest.raises(CirbenchError, match="did you mean da_clip"):
        external.bring(model, {"daclip": "x"})


def test_bring_finds_weight_files_by_their_records(
    all_external: dict[str, str], no_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    model = around(all_external["stable_diffusion"])
    shutil.copytree(all_external["stable_diffusion"], no_weights / "stable-diffusion-2-1-base")
    state = torch.load(all_external["clip"], weights_only=True)
    from safetensors.torch import save_file

    save_file(state, no_weights / weights.record("clip-rn50").file)
    shutil.copy(all_external["da_clip"], no_weights / weights.record("daclip-vit-b-32").file)
    with pytest.raises(UnavailableError, match="is not the published file"):
        external.bring(model, {})
    unhashed = tuple(replace(one, sha256="") for one in weights.records())
    monkeypatch.setattr(weights, "records", lambda: unhashed)
    used = external.bring(model, {})
    assert all(one.startswith(str(no_weights)) for one in used.values())


def test_a_model_that_is_not_built_as_its_weights_are_is_refused(
    all_external: dict[str, str], no_weights: Path
) -> None:
    fitting = external.stable_diffusion_config(settings(), all_external["stable_diffusion"])
    other = MoEDiffIR(replace(fitting, schedule=presets.micro().schedule))
    with pytest.raises(CirbenchError, match=r"schedule.beta_start is 0\.001"):
        external.bring(other, all_external)
    # Another number of heads has the same shapes.
    heads = {**fitting.unet, "attention_head_dim": [4, 4]}
    other = MoEDiffIR(replace(fitting, unet=heads))
    with pytest.raises(CirbenchError, match=r"unet.attention_head_dim is \[2, 2\]"):
        external.bring(other, all_external)


def test_what_is_needed_follows_the_ablation() -> None:
    paper = presets.paper()
    assert external.needed(presets.tiny()) == []
    assert external.needed(paper) == ["stable_diffusion", "clip", "da_clip"]
    assert external.needed(replace(paper, v2t=False)) == ["stable_diffusion", "da_clip"]
    assert external.needed(replace(paper, degradation_prior=False)) == ["stable_diffusion", "clip"]


def test_hub_ids_are_taken_as_they_are_and_missing_folders_are_not(no_weights: Path) -> None:
    from cirbench.models.moe_diffir.locate import needs

    def found(value: str) -> str:
        return needs(presets.paper(), {"stable_diffusion": value})[0].found

    assert found("someone/sd-2-1-base") == "someone/sd-2-1-base"
    assert found("/no/such/folder") == found("./sd") == found("sd") == found(str(no_weights)) == ""


def test_a_checkpoint_brings_the_weights_it_was_trained_around(
    all_external: dict[str, str], tmp_path: Path
) -> None:
    import json

    from cirbench.models import restorer
    from cirbench.models.moe_diffir import training

    model = around(all_external["stable_diffusion"])
    notes = {"external": json.dumps(external.bring(model, all_external))}
    training.save(model, tmp_path / "run", notes)
    lq = torch.rand(1, 3, 64, 64)
    expected = restore(model.eval(), lq, seeds=[1]).numpy()
    found = restorer.get("moe_diffir", tmp_path / "run", "cpu").restore(lq.numpy(), seeds=[1])
    assert abs(found - expected).max() < 1e-3
    state = torch.load(all_external["clip"])
    state["visual.conv1.weight"] += 1
    torch.save(state, all_external["clip"])
    with pytest.raises(CirbenchError, match="clip weights"):
        restorer.get("moe_diffir", tmp_path / "run", "cpu")


def test_a_checkpoint_on_random_weights_restores_nothing(tmp_path: Path) -> None:
    from cirbench.models import restorer
    from cirbench.models.moe_diffir import training

    training.save(MoEDiffIR(presets.micro()), tmp_path, {"random_weights": "yes"})
    with pytest.raises(CirbenchError, match="--random-weights"):
        restorer.get("moe_diffir", tmp_path, "cpu")
