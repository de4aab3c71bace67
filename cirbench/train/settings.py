"""What a training run can be told: frozen records, filled from ``presets/*.toml`` and ``--set``."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..errors import CirbenchError
from ..filling import fill
from ..suggest import hint

PRECISIONS = ("no", "bf16", "fp16")
OPTIMIZERS = ("adam", "muon")
IMAGE_TERMS = ("pixels", "edges", "gradients", "ssim", "gmsd", "lpips")
TERMS = {"vae": (*IMAGE_TERMS, "kl"), "compensator": IMAGE_TERMS}
"""The terms that ``loss`` may weigh, by stage; in other stages the loss is what the paper says."""


@dataclass(frozen=True)
class StageSettings:
    """One stage.

    Attributes:
        steps: optimiser steps.
        batch_size: pairs per step, over all processes and accumulated batches together.
        accumulate: a step's batch is run in so many pieces, to need less memory.
        optimizer: ``adam``, or ``muon`` (for inner matrices and kernels; Adam for the rest).
        lr: learning rate of Adam; ``muon_lr`` that of Muon.
        betas: of Adam.
        warmup: steps in which the learning rate grows from 0.
        decay: share of the steps, at the end, in which it falls to 0.
        clip: largest norm of the gradient; 0 for no limit.
        ema: decay of the weights' moving average, which is what is saved to be used; 0 for none.
        loss: terms of the loss and their weights; see :data:`TERMS`.
        latents: stage II trains on so many latents made with stage I's weights, at most as many as
            its steps draw; 0 for that many.
        dropout: share of samples whose UNet is told nothing (the null context).
        milder: share of stage II's samples whose LQ image and latents are moved a random way
            towards those of HQ, so that better inputs than the data set has are met.
        sharpen: train towards an unsharp-masked HQ image (release).
        gradient_checkpointing: recompute the UNet's activations, to need less memory.
    """

    steps: int = 1000
    batch_size: int = 8
    accumulate: int = 1
    optimizer: str = "adam"
    lr: float = 1e-4
    muon_lr: float = 0.02
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: int = 0
    decay: float = 0.0
    clip: float = 0.0
    ema: float = 0.0
    loss: Mapping[str, float] = field(default_factory=dict)
    latents: int = 0
    dropout: float = 0.0
    milder: float = 0.0
    sharpen: bool = False
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise CirbenchError(
                f"optimizer cannot be {self.optimizer!r}; it is one of {', '.join(OPTIMIZERS)}"
            )
        for name, least in (("steps", 0), ("batch_size", 1), ("accumulate", 1), ("latents", 0)):
            if getattr(self, name) < least:
                raise CirbenchError(f"{name} cannot be {getattr(self, name)}; at least {least}")


@dataclass(frozen=True)
class DataSettings:
    """Which pictures, and how they are cut; see ``CIRDataset``.

    Attributes:
        size, transform, flips: of the crops.
        workers: processes that read; -1 for as many as fit the machine.
        cache: folder for decoded pictures; "" for none.
        cache_gb: its limit in GB.
        on_mismatch: ``warn`` trains on pixels that are not the recorded ones; see ``CIRDataset``.
    """

    size: int = 256
    transform: str = "crop"
    flips: bool = True
    workers: int = -1
    cache: str = "~/.cache/cirbench/crops"
    cache_gb: float = 20.0
    on_mismatch: str = "error"


@dataclass(frozen=True)
class Settings:
    """A run.

    Attributes:
        model: a :class:`.trainable.Trainable`'s name.
        size: which of its presets of sizes.
        overrides: changes to that (``--set model.KEY=VALUE``).
        external: weights a user brings, by part: a path or a hub id.
        stages: by name, in order.
        seed: decides everything that is drawn.
        precision: ``no`` (float32), ``bf16`` or ``fp16``.
        compile: run the networks through ``torch.compile``.
        log_every, grid_every, checkpoint_every: in steps.
        keep: how many checkpoints of a stage are kept.
    """

    model: str = "moe_diffir"
    size: str = "tiny"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    external: Mapping[str, str] = field(default_factory=dict)
    stages: Mapping[str, StageSettings] = field(default_factory=dict)
    data: DataSettings = field(default_factory=DataSettings)
    seed: int = 0
    precision: str = "no"
    compile: bool = False
    log_every: int = 10
    grid_every: int = 500
    checkpoint_every: int = 500
    keep: int = 2

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise CirbenchError(
                f"precision cannot be {self.precision!r}; it is one of {', '.join(PRECISIONS)}"
            )
        for name in ("log_every", "grid_every", "checkpoint_every", "keep"):
            if getattr(self, name) < 1:
                raise CirbenchError(f"{name} cannot be {getattr(self, name)}; it is at least 1")


def names() -> list[str]:
    """The presets that come with cirbench."""
    return sorted(Path(str(one)).stem for one in _folder().iterdir() if one.name.endswith(".toml"))


def preset(name: str) -> Settings:
    """A preset by its name, or one in a TOML file. Raises CirbenchError when there is none."""
    path = Path(name).expanduser()
    if path.suffix != ".toml":
        if name not in names():
            raise CirbenchError(f"there is no preset {name!r}; {hint(name, names())}")
        return from_toml(_folder().joinpath(f"{name}.toml").read_text(encoding="utf-8"), name)
    try:
        return from_toml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise CirbenchError(f"the preset {path} cannot be read ({error}); give its path") from error


def from_toml(text: str, source: str) -> Settings:
    """Settings from TOML: the stages are tables ``[stages.NAME]``.

    Raises CirbenchError for what is no TOML, an unknown key, or a value of the wrong type.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CirbenchError(f"{source} is no TOML ({error}); correct it") from error
    stages = values.get("stages", {})
    if not isinstance(stages, dict):
        raise CirbenchError(f"{source} has no tables [stages.NAME]; add them")
    blank = Settings(stages={name: StageSettings() for name in stages})
    return fill(blank, values, source)


def change(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """``settings`` with ``--set``'s values: ``model.KEY`` is the model's, the rest is ours.

    Raises CirbenchError naming the key that is wrong.
    """
    ours: dict[str, Any] = {}
    models = dict(settings.overrides)
    for key, value in values.items():
        if key.startswith("model."):
            models[key.removeprefix("model.")] = value
        else:
            ours[key] = value
    return dataclasses.replace(fill(settings, ours, "a training run"), overrides=models)


def _folder() -> Any:
    return files("cirbench.train").joinpath("presets")
