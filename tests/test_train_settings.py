"""Presets, and settings that cannot be trained with: one sentence before anything is built."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("accelerate")
pytest.importorskip("tensorboard")

from small_run import last, micro, one_stage, quiet, request  # noqa: E402

from cirbench.errors import CirbenchError  # noqa: E402
from cirbench.models.moe_diffir import presets as sizes  # noqa: E402
from cirbench.models.moe_diffir.config import from_dict  # noqa: E402
from cirbench.models.moe_diffir.training import TRAINABLE  # noqa: E402
from cirbench.train import optimizer, plan, run, settings, trainable  # noqa: E402
from cirbench.train.record import LOG  # noqa: E402


@pytest.mark.parametrize("name", settings.names())
def test_every_preset_makes_a_run(name: str) -> None:
    made = settings.preset(name)
    assert trainable.get(made.model) is TRAINABLE
    assert from_dict(dict(made.overrides), sizes.preset(made.size)).tile
    numbers = tuple({one.number for one in TRAINABLE.stages if one.name in made.stages})
    wanted = run.Request(made, Path("data"), Path("run"), numbers, random_weights=True)
    stages = plan.chosen_stages(wanted, TRAINABLE)
    assert {one.name for one in stages} == set(made.stages)
    for chosen in made.stages.values():
        assert 0 < optimizer.rate(chosen.steps - 1, chosen) <= 1
        assert chosen.batch_size % chosen.accumulate == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"stages.compensator.loss.pixel": 1.0}, r"stages\.compensator\.loss\.pixel; it is one of"),
        ({"stages.compensator.loss.kl": 1.0}, r"stages\.compensator\.loss\.kl; it is one of"),
        ({"stages.prompt.loss.pixels": 1.0}, r"stages\.prompt\.loss\.pixels; this stage has none"),
        ({"stages.vae.loss.pixels": 0.0}, r"stages\.vae\.loss compares no pictures"),
    ],
)
def test_a_loss_that_cannot_be_computed_is_named_at_the_start(
    training_set: Path, tmp_path: Path, changes: dict[str, float], says: str
) -> None:
    lines: list[str] = []
    one = request(training_set, tmp_path / "run", settings=micro(**changes))
    with pytest.raises(CirbenchError, match=says):
        run.train(one, say=lines.append)
    assert not lines and not (tmp_path / "run").exists()


def test_a_stage_that_does_not_exist_is_named(training_set: Path, tmp_path: Path) -> None:
    made = settings.from_toml('size = "micro"\n[stages.prompts]\nsteps = 1\n', "mine.toml")
    with pytest.raises(CirbenchError, match="no stage 'prompts'; did you mean prompt"):
        run.train(request(training_set, tmp_path / "run", settings=made), say=quiet)


def test_fp16_and_absent_devices_are_refused_in_one_sentence(
    training_set: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    half = request(training_set, tmp_path, settings=micro(precision="fp16"))
    with pytest.raises(CirbenchError, match="CUDA GPUs only; use --precision bf16"):
        run.train(half, say=quiet)
    if torch.cuda.is_available():
        pytest.skip("the rest needs a machine without a GPU")
    with pytest.raises(CirbenchError, match="no cuda device here"):
        run.train(replace(request(training_set, tmp_path), device="cuda"), say=quiet)


@pytest.fixture
def fresh_accelerate() -> Iterator[None]:
    """accelerate keeps a precision for all of a process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_bf16_trains_on_a_cpu(training_set: Path, tmp_path: Path, fresh_accelerate: None) -> None:
    chosen = one_stage("vae", 1, precision="bf16")
    run.train(request(training_set, tmp_path, (0,), settings=chosen), say=quiet)
    assert last(tmp_path, "vae").name == "step-0000001"
    other = request(training_set, tmp_path / "other", (0,), settings=one_stage("vae", 1))
    with pytest.raises(CirbenchError, match="--precision no cannot begin.*start a new process"):
        run.train(other, say=quiet)


def test_a_compiled_model_takes_a_step(training_set: Path, tmp_path: Path) -> None:
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("torch.compile needs a C++ compiler (g++ or clang++)")
    losses = []
    for compiled in (False, True):
        folder = tmp_path / str(compiled)
        chosen = one_stage("prior", 1, compile=compiled)
        run.train(request(training_set, folder, (0,), settings=chosen), say=quiet)
        assert last(folder, "prior").name == "step-0000001"
        losses.append(json.loads((folder / LOG).read_text(encoding="utf-8"))["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
