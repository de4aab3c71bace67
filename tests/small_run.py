"""What the training tests share: a run of the micro model that takes seconds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from cirbench.train import run, settings, state
from cirbench.train.settings import DataSettings, Settings, StageSettings

NAMES = ("vae", "unet", "prior", "prompt", "compensator")


def micro(steps: int = 2, **changes: object) -> Settings:
    """Settings of all stages."""
    losses = {"vae": {"pixels": 1.0, "kl": 1e-4}, "compensator": {"pixels": 1.0, "edges": 1.0}}
    stages = {
        name: StageSettings(
            steps=steps, batch_size=4, latents=8, loss=losses.get(name, {}), dropout=0.5
        )
        for name in NAMES
    }
    made = Settings(
        size="micro",
        stages=stages,
        data=DataSettings(size=64, workers=0, cache=""),
        log_every=1,
        grid_every=2,
        checkpoint_every=2,
    )
    return settings.change(made, changes)


def one_stage(name: str, steps: int = 2, **changes: object) -> Settings:
    """Settings of one stage alone."""
    chosen = micro(steps, **changes)
    return dataclasses.replace(chosen, stages={name: chosen.stages[name]})


def request(
    data: Path, folder: Path, stages: tuple[int, ...] = (0, 1, 2), **given: object
) -> run.Request:
    """A run of ``micro()``, or of other ``settings``."""
    chosen = given.pop("settings", None) or micro()
    return run.Request(chosen, data, folder, stages, device="cpu", **given)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint."""
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def equal(one: Path, other: Path) -> bool:
    """Whether two checkpoints hold the same tensors, bit for bit."""
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def last(folder: Path, stage: str) -> Path:
    """The newest checkpoint of a stage."""
    return state.found(folder, stage)[-1].folder


def quiet(line: str) -> None:
    """Say nothing."""
