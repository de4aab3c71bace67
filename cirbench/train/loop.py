"""The loop of one stage: batches in, optimiser steps, log lines, pictures and checkpoints out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CirbenchError
from . import batches, ema, grid, optimizer, state
from .noise import Noise, seed_of
from .record import Record
from .settings import Settings, StageSettings
from .stopping import anywhere, stopping
from .trainable import Stage, Trainable


class Interrupted(Exception):
    """Ctrl-C or SIGTERM came, and what was done is saved in ``folder``."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__(str(folder))
        self.folder = folder


@dataclass(frozen=True)
class Job:
    """What the loop needs to run one stage.

    Attributes:
        run: the run's folder.
        trainable, stage: what is trained.
        settings: of the run; ``chosen`` those of the stage.
        source: the samples: a torch data set with ``tasks``.
        examples: batch for the grids and the name of each of its rows.
        notes: for the checkpoints' metadata.
    """

    run: Path
    trainable: Trainable
    stage: Stage
    settings: Settings
    chosen: StageSettings
    source: Any
    examples: tuple[dict[str, Tensor], list[str]]
    notes: Mapping[str, str]


class _Module(nn.Module):
    """A model's loss as the forward pass of a module, which accelerate can wrap."""

    def __init__(self, model: nn.Module, stage: Stage, settings: StageSettings) -> None:
        super().__init__()
        self.model, self.stage, self.settings = model, stage, settings

    def forward(self, batch: dict[str, Tensor], noise: Noise) -> dict[str, Tensor]:
        """Named losses; ``loss`` is the one to be minimised."""
        return self.stage.loss(self.model, batch, noise, self.settings)


def run(job: Job, model: Any, accelerator: Any, stop_at: int | None = None) -> None:
    """Train one stage to its end, from its newest checkpoint if there is one.

    Args:
        job: what to do.
        model: changed in place; at the end it holds the weights that are to be used (EMA if on).
        accelerator: accelerate's.
        stop_at: interrupt after this step, as Ctrl-C would (for tests).

    Raises Interrupted, its state saved; CirbenchError when the loss is no number.
    """
    stage, chosen = job.stage, job.chosen
    parameters = job.trainable.train_only(model, stage.parts)
    pieces = chosen.accumulate * accelerator.num_processes
    if chosen.batch_size % pieces:
        raise CirbenchError(
            f"a batch of {chosen.batch_size} cannot be dealt to {accelerator.num_processes} "
            f"processes x {chosen.accumulate} accumulated pieces; choose another --batch-size"
        )
    optimizers = optimizer.build(parameters, chosen)
    average = ema.build(parameters, chosen)
    saved = state.found(job.run, stage.name)
    start = _resume(job, model, saved[-1], optimizers, average) if saved else 0
    if start >= chosen.steps:
        ema.use(average, parameters)
        return
    module: Any = accelerator.prepare(_module(job, model, accelerator))
    optimizers = [accelerator.prepare(one) for one in optimizers]
    model.train()
    if chosen.gradient_checkpointing:
        model.unet.enable_gradient_checkpointing()
    else:  # the stage before may have had it
        model.unet.disable_gradient_checkpointing()
    steps = batches.Steps(
        job.source.tasks,
        job.settings.seed,
        chosen.batch_size,
        pieces,
        accelerator.process_index,
        accelerator.num_processes,
        start,
        chosen.steps,
    )
    reader = batches.loader(job.source, steps, job.settings.data, accelerator.device)
    first = accelerator.is_main_process
    record = Record(
        job.run if first else None,
        stage.name,
        start,
        chosen.steps,
        chosen.batch_size,
        job.settings.log_every,
    )
    save = _saver(job, model, parameters, optimizers, average, first)
    with stopping() as asked, _closing(record):
        pieces_left = iter(reader)
        for step in range(start + 1, chosen.steps + 1):
            factor = optimizer.rate(step - 1, chosen)
            optimizer.set_rate(optimizers, factor)
            values = _step(job, module, parameters, optimizers, pieces_left, step, accelerator)
            if average is not None:
                average.step(parameters)
            record.add(step, values, factor)
            last = step == chosen.steps
            if first and (last or step % job.settings.grid_every == 0):
                _picture(job, model, parameters, average, record, step)
            halting = anywhere(asked, accelerator) or step == stop_at
            if last or halting or step % job.settings.checkpoint_every == 0:
                folder = save(step)
                accelerator.wait_for_everyone()
            if halting and not last:
                raise Interrupted(folder)
    ema.use(average, parameters)


def _module(job: Job, model: Any, accelerator: Any) -> Any:
    module: Any = _Module(model, job.stage, job.chosen).to(accelerator.device)
    return torch.compile(module) if job.settings.compile else module


def _step(
    job: Job,
    module: Any,
    parameters: list[nn.Parameter],
    optimizers: list[Any],
    reader: Iterator[Any],
    step: int,
    accelerator: Any,
) -> dict[str, float]:
    """One optimiser step; the mean of what its pieces measured, over all processes."""
    chosen, key = job.chosen, (job.settings.seed, job.stage.name, step)
    world, rank = accelerator.num_processes, accelerator.process_index
    mine = batches.spans(chosen.batch_size, chosen.accumulate * world)[rank::world]
    sums: dict[str, Tensor] = {}
    for index, rows in enumerate(mine):
        batch = batches.to_device(next(reader), accelerator.device)
        noise = Noise(key, rows, chosen.batch_size, accelerator.device)
        # What layers draw themselves (the router's noise) follows from the step, too.
        torch.manual_seed(seed_of(*key, rows.start))
        waiting = index < len(mine) - 1
        with accelerator.no_sync(module) if waiting else nullcontext():
            losses = module(batch, noise)
            accelerator.backward(losses["loss"] / len(mine))
        for name, one in losses.items():
            sums[name] = sums.get(name, 0) + one.detach().float() / len(mine)
    names = list(sums)
    totals = accelerator.reduce(torch.stack([sums[name] for name in names]), "mean").tolist()
    values = dict(zip(names, totals, strict=True))
    norm = accelerator.clip_grad_norm_(parameters, chosen.clip or float("inf"))
    scaled = accelerator.scaler is not None  # fp16 skips steps that overflow by itself
    if not torch.isfinite(torch.tensor(values["loss"])) or not (scaled or torch.isfinite(norm)):
        raise CirbenchError(_not_finite(job, step, values["loss"]))
    for one in optimizers:
        one.step()
        one.zero_grad(set_to_none=True)
    return values


def _not_finite(job: Job, step: int, loss: float) -> str:
    saved = state.found(job.run, job.stage.name)
    kept = f"the last good checkpoint is {saved[-1].folder}" if saved else "nothing was saved yet"
    return (
        f"the loss or its gradient is not a number (loss {loss}) in stage {job.stage.name} at step "
        f"{step}; {kept}; resume with a lower learning rate (--set stages.{job.stage.name}.lr=...)"
    )


def _saver(
    job: Job,
    model: Any,
    parameters: list[nn.Parameter],
    optimizers: list[Any],
    average: Any,
    first: bool,
) -> Callable[[int], Path | None]:
    def save(step: int) -> Path | None:
        if not first:
            return None
        # Copies: the average takes their place while the model is written.
        tensors = {f"parameter.{i}": one.detach().clone() for i, one in enumerate(parameters)}
        tensors |= state.pack(optimizers)
        if average is not None:
            tensors |= {f"average.{i}": one for i, one in enumerate(average.shadow_params)}
        facts = {
            "stage": job.stage.name,
            "step": step,
            "average": getattr(average, "optimization_step", 0),
        }
        notes = {**job.notes, "stage": job.stage.name, "step": str(step)}
        with ema.averaged(average, parameters):
            return state.write(
                job.run,
                job.stage.name,
                step,
                tensors,
                facts,
                lambda folder: job.trainable.save(model, folder, notes),
                job.settings.keep,
            )

    return save


def _resume(job: Job, model: Any, saved: state.Saved, optimizers: list[Any], average: Any) -> int:
    """Put a checkpoint's state back; returns its step."""
    job.trainable.load(model, saved.folder)
    parameters = [one for one in model.parameters() if one.requires_grad]
    tensors, facts = state.read(saved)
    with torch.no_grad():
        for index, one in enumerate(parameters):
            one.copy_(tensors[f"parameter.{index}"])
        for index, one in enumerate(average.shadow_params if average is not None else ()):
            one.copy_(tensors[f"average.{index}"])
    if average is not None:
        average.optimization_step = int(facts["average"])
    state.unpack(optimizers, tensors)
    return int(facts["step"])


def _picture(
    job: Job, model: Any, parameters: list[nn.Parameter], average: Any, record: Record, step: int
) -> None:
    if job.stage.preview is None:
        return
    batch, rows = job.examples
    device = next(model.parameters()).device
    moved = batches.to_device(batch, device)
    model.eval()
    with ema.averaged(average, parameters), torch.inference_mode():
        columns = {"HQ": moved["hq"], "LQ": moved["lq"], **job.stage.preview(model, moved)}
    model.train()
    pixels = grid.draw(columns, rows)
    grid.write(job.run / "grids" / f"{job.stage.name}-{step:07d}.png", pixels)
    record.picture("grid", step, pixels)


@contextmanager
def _closing(record: Record) -> Iterator[None]:
    try:
        yield
    finally:
        record.close()
