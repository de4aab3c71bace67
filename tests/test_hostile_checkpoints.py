"""Checkpoints of strangers: what they ask for is told before it is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hostile import FEW, damage, sentence
from hypothesis import given
from hypothesis import strategies as st

_FORMAT = {"format": "cirbench-moe-diffir-1"}
_CONFIGS = [
    *("{", "1", "[]", "null", "[" * 100_000, '{"unet": 5}', '{"unet": {}}', '{"tile": 1e9}'),
    '{"sampler.steps": 1000000000}',
    '{"schedule": {"num_train_timesteps": 1000000000}}',
    '{"schedule": {"beta_start": "x"}}',
    '{"x": 1}',
]


@pytest.mark.parametrize("config", [None, *_CONFIGS], ids=range(len(_CONFIGS) + 1))
def test_a_checkpoint_with_a_strange_configuration_is_one_sentence(config, tmp_path) -> None:
    path = hostile_checkpoint(tmp_path, config)
    from cirbench.models.moe_diffir.checkpoint import load

    assert str(path) in sentence(lambda: load(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        {"unet": {"block_out_channels": [1 << 20, 1 << 20]}},
        {"unet": {"layers_per_block": 10**6}},
        {"unet": {"block_out_channels": [16, 0]}},
        {"unet": {"down_block_types": ["No", "Such"]}},
        {"unet": {"in_channels": "four"}},
        {"vae": {"norm_num_groups": 0}},
        {"null_tokens": 1 << 40},
        {"null_tokens": -1},
        {"experts": 1 << 30},
        {"enhancer": {"blocks": [10**7, 1]}},
        {"compensator": {"levels": [99]}},
        {"prompt_size": {"heads": 0}},
    ],
)
def test_a_checkpoint_cannot_ask_for_a_model_it_does_not_fill(change, tmp_path) -> None:
    pytest.importorskip("safetensors")
    from cirbench.models.moe_diffir import presets
    from cirbench.models.moe_diffir.checkpoint import load
    from cirbench.models.moe_diffir.config import from_dict, to_dict

    config = to_dict(from_dict(change, presets.micro())) if _fits(change) else change
    path = hostile_checkpoint(tmp_path, json.dumps(config), full=True)
    assert str(path) in sentence(lambda: load(tmp_path))


def _fits(change: dict) -> bool:
    from cirbench.models.moe_diffir import presets
    from cirbench.models.moe_diffir.config import from_dict

    return not sentence(lambda: from_dict(change, presets.micro()))


def test_numbers_that_are_not_finite_are_refused(tmp_path) -> None:
    from cirbench.models.moe_diffir.checkpoint import load

    path = hostile_checkpoint(tmp_path, "", full=True, value=float("nan"))
    assert f"{path} is damaged: some numbers" in sentence(lambda: load(tmp_path))


def hostile_checkpoint(
    folder: Path, config: str | None, full: bool = False, value: float = 0.5
) -> Path:
    """A safetensors file with this configuration (None: none, "": the right one)."""
    pytest.importorskip("diffusers")
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    from cirbench.models.moe_diffir import presets
    from cirbench.models.moe_diffir.config import to_dict
    from cirbench.models.moe_diffir.model import MoEDiffIR

    state = {"latent_scale": torch.ones(())}
    if full:
        shapes = MoEDiffIR(presets.micro()).state_dict()
        state |= {key: torch.full(one.shape, value) for key, one in shapes.items()}
    if config == "":
        config = json.dumps(to_dict(presets.micro()))
    path = folder / "model.safetensors"
    save_file(state, path, _FORMAT | ({} if config is None else {"config": config}))
    return path


@FEW
@given(data=st.data())
def test_a_damaged_checkpoint_is_one_sentence(data, tmp_path_factory) -> None:
    from cirbench.models.moe_diffir.checkpoint import load

    folder = tmp_path_factory.mktemp("checkpoint")
    path = hostile_checkpoint(folder, "")
    path.write_bytes(damage(data, path.read_bytes()))
    assert sentence(lambda: load(folder))
