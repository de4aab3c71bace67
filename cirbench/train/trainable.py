"""What a model must say to be trained here: its stages, each with parts, loss and data needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import CirbenchError

HQ, PAIRS, LATENTS = "hq", "pairs", "latents"
"""What a stage reads: HQ crops; HQ/LQ pairs; restored latents with the pair they belong to."""


@dataclass(frozen=True)
class Stage:
    """One stage of a model's training.

    Attributes:
        number: what ``--stage`` calls it; several may share one.
        name: its table in the settings, its folder in a run.
        title: one line for people.
        parts: names of the model's parts that are trained; all others are frozen.
        data: ``hq``, ``pairs`` or ``latents``.
        loss: ``loss(model, batch, noise, settings) -> {name: scalar}``; ``loss`` is minimised, the
            others are logged. ``batch`` holds ``hq`` and ``lq``, float (B, 3, H, W) in [0, 1],
            ``task_id`` (B,) int64 and, for ``latents``, ``latents`` (B, C, h, w). ``noise`` is a
            :class:`.noise.Noise`: the only source of randomness.
        preview: ``preview(model, batch) -> {column: (B, 3, H, W) in [0, 1]}``: the pictures of a
            grid, beside HQ and LQ; None for none.
        prepare: ``prepare(model, batches)``, called once before the first step with a few batches
            of the stage's data; None for nothing.
    """

    number: int
    name: str
    title: str
    parts: tuple[str, ...]
    data: str
    loss: Callable[..., dict[str, Any]]
    preview: Callable[..., dict[str, Any]] | None = None
    prepare: Callable[..., None] | None = None


@dataclass(frozen=True)
class Trainable:
    """A model that can be trained.

    Attributes:
        name: as in the settings, and the restorer that reads its checkpoints.
        stages: in order.
        build: ``build(size, overrides, external, random_weights) -> (model, notes)``: the model
            with the weights a user brings, and what to remember of them in checkpoints.
        train_only: ``train_only(model, parts) -> parameters``: freeze all but these parts.
        save: ``save(model, folder, notes)``: write a checkpoint that a restorer can read.
        load: ``load(model, path)``: read one into a model.
        start_from: ``start_from(model, path, needed) -> parts left out``: read what fits of one
            of another configuration; ``needed`` parts have to.
        counts: ``counts(model) -> str``: trained and frozen parameters, as a table.
        sample: ``sample(model, lq, seeds) -> latents``: what the stage before makes, for a stage
            that reads ``latents``.
        problem: ``problem(stage, settings) -> sentence``, ``""`` when the stage can run.
    """

    name: str
    stages: tuple[Stage, ...]
    build: Callable[..., tuple[Any, dict[str, str]]]
    train_only: Callable[[Any, tuple[str, ...]], list[Any]]
    save: Callable[[Any, Path, Mapping[str, str]], None]
    load: Callable[[Any, Path], None]
    start_from: Callable[[Any, Path, tuple[str, ...]], list[str]]
    counts: Callable[[Any], str]
    sample: Callable[..., Any]
    problem: Callable[[Stage, Any], str]


_BUILT_IN = {"moe_diffir": "cirbench.models.moe_diffir.training:TRAINABLE"}


def get(name: str) -> Trainable:
    """The model called ``name``. Raises CirbenchError for an unknown one."""
    if name not in _BUILT_IN:
        raise CirbenchError(f"there is no trainable model {name!r}; use {', '.join(_BUILT_IN)}")
    module, _, attribute = _BUILT_IN[name].partition(":")
    made: Trainable = getattr(import_module(module), attribute)
    return made
