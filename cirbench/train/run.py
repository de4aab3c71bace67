"""A training run from start to end: settings, data, the stages one after another."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..builder import store
from ..errors import CirbenchError, UnavailableError
from ..filling import fill, to_dict
from .plan import chosen_stages
from .settings import Settings, StageSettings
from .trainable import LATENTS, Stage, Trainable

RUNS = Path("runs")
_SETTINGS = "settings.json"


@dataclass(frozen=True)
class Request:
    """What to train.

    Attributes:
        settings: of the run.
        data: a data set's folder.
        run: folder of the run.
        stages: numbers of the stages to train.
        init: checkpoint to start from; None for random weights.
        random_weights: leave weights random that should be brought.
        device: ``cpu``, ``cuda``, ...; None for the best one.
    """

    settings: Settings
    data: Path
    run: Path
    stages: tuple[int, ...]
    init: Path | None = None
    random_weights: bool = False
    device: str | None = None


def train(
    request: Request, say: Callable[[str], None] = print, stop_at: tuple[str, int] | None = None
) -> Path:
    """Train the stages of a request, going on where an earlier call stopped.

    Args:
        request: what to train.
        say: gets lines for people.
        stop_at: (stage, step) to be interrupted after, for tests.

    Returns:
        Folder of the newest checkpoint.

    Raises CirbenchError for settings, data or weights that cannot be used, a loss that is no
    number, or a run that another process trains; UnavailableError naming missing packages;
    :class:`.loop.Interrupted`.
    """
    accelerator = _accelerator(request)
    import torch

    from . import grid, loop, state
    from .noise import seed_of
    from .trainable import get

    settings, trainable = request.settings, get(request.settings.model)
    plan = chosen_stages(request, trainable)
    tell = say if accelerator.is_main_process else _silent
    pairs = _pairs(request)  # before the model: a mistake here should not wait for it
    torch.manual_seed(seed_of(settings.seed, "weights"))
    model, notes = trainable.build(
        settings.size, settings.overrides, settings.external, request.random_weights
    )
    if request.random_weights:
        tell("RANDOM WEIGHTS where trained ones belong: this measures cost and restores nothing")
    _start(request, trainable, plan[0], model, tell)
    model.to(accelerator.device)
    shown = grid.examples(pairs)
    notes = {**notes, "trained_on": os.path.abspath(request.data)}
    with store.lock(request.run) if accelerator.is_main_process else nullcontext():
        if accelerator.is_main_process:
            _remember(request, pairs.config)
        for stage in plan:
            chosen = settings.stages[stage.name]
            trainable.train_only(model, stage.parts)
            tell(f"stage {stage.number}, {stage.name}: {stage.title}, {chosen.steps} steps")
            tell(trainable.counts(model))
            done = state.found(request.run, stage.name)
            finished = bool(done) and done[-1].step >= chosen.steps
            source = pairs
            if not done:
                _prepare(stage, model, pairs, settings, accelerator.device)
            if stage.data == LATENTS and not finished:
                source = _latents(request, (trainable, stage), model, pairs, accelerator)
            job = loop.Job(request.run, trainable, stage, settings, chosen, source, shown, notes)
            stop = stop_at[1] if stop_at and stop_at[0] == stage.name else None
            loop.run(job, model, accelerator, stop)
    return state.found(request.run, plan[-1].name)[-1].folder


def newest(runs: Path = RUNS) -> Path | None:
    """The run below ``runs`` that was written to last; None when there is none."""
    found = sorted(runs.glob(f"*/{_SETTINGS}"), key=lambda one: _touched(one.parent))
    return found[-1].parent if found else None


def _touched(run: Path) -> int:
    return max(one.stat().st_mtime_ns for one in (run, *run.iterdir()))


def fresh(preset: str, runs: Path = RUNS) -> Path:
    """A folder for a new run: ``runs/<preset>-<number>``."""
    number = 1
    while (runs / f"{preset}-{number}").exists():
        number += 1
    return runs / f"{preset}-{number}"


def remembered(run: Path) -> Request:
    """What a run was started with. Raises CirbenchError when it is no run's folder."""
    try:
        found: dict[str, Any] = json.loads((run / _SETTINGS).read_text(encoding="utf-8"))
        stages = found["settings"]["stages"]
        blank = Settings(stages={name: StageSettings() for name in stages})
        return Request(
            settings=fill(blank, found["settings"], str(run / _SETTINGS)),
            data=Path(found["data"]),
            run=run,
            stages=tuple(found["stages"]),
            init=Path(found["init"]) if found["init"] else None,
            random_weights=bool(found["random_weights"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CirbenchError(
            f"{run} holds no run that can be resumed ({error}); give the folder of one with --out"
        ) from error


def _remember(request: Request, data: dict[str, Any]) -> None:
    """Note what the run is, or check that it still is what it was."""
    path = request.run / _SETTINGS
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8")).get("rows")
        if before != data["rows_sha256"]:
            raise CirbenchError(
                f"{request.data} holds other training rows than when {request.run} was started; "
                "train on it in a new run (--out), from this one's weights (--from)"
            )
    facts = {
        "settings": to_dict(request.settings),
        "data": os.path.abspath(request.data),
        "stages": list(request.stages),
        "init": str(request.init.absolute()) if request.init else "",
        "random_weights": request.random_weights,
        "rows": data["rows_sha256"],
    }
    request.run.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def _start(
    request: Request, trainable: Trainable, first: Stage, model: Any, tell: Callable[[str], None]
) -> None:
    """Begin with the last finished stage before ``first`` in this run, or the given checkpoint.

    Raises CirbenchError when stages were left out that only this run could have made.
    """
    from . import state

    earlier = trainable.stages[: trainable.stages.index(first)]
    for stage in reversed(earlier):
        chosen = request.settings.stages.get(stage.name)
        done = state.found(request.run, stage.name)
        if chosen and done and done[-1].step >= chosen.steps:
            tell(f"after stage {stage.name}: {done[-1].folder}")
            trainable.load(model, done[-1].folder)
            return
    if request.init is not None:
        needed = tuple(part for stage in earlier for part in stage.parts)
        fresh = trainable.start_from(model, request.init, needed)
        tell(f"starting from {request.init}" + (f"; new: {', '.join(fresh)}" if fresh else ""))
        return
    for stage in earlier:
        if stage.name in request.settings.stages:
            raise CirbenchError(
                f"stage {first.number} goes on from stage {stage.number} ({stage.name}), which "
                f"{request.run} has not finished; run --stage {stage.number} first, or give a "
                "checkpoint with --from"
            )


def _pairs(request: Request) -> Any:
    from .batches import dataset

    settings = request.settings
    return dataset(request.data, settings.data, settings.seed, split="train", kind="seen")


def _prepare(stage: Stage, model: Any, pairs: Any, settings: Settings, device: Any) -> None:
    """Give a stage's ``prepare`` eight batches of sixteen."""
    if stage.prepare is None:
        return
    from . import batches

    steps = batches.Steps(pairs.tasks, settings.seed, 16, 1, 0, 1, 0, 8)
    few = (batches.collate([pairs[draw] for draw in draws]) for draws in steps)
    stage.prepare(model, [batches.to_device(one, device) for one in few])


def _latents(
    request: Request, job: tuple[Trainable, Stage], model: Any, pairs: Any, accelerator: Any
) -> Any:
    """The data of a stage that trains on restored latents, made now where they are missing."""
    from . import latents

    trainable, stage = job
    chosen = request.settings.stages[stage.name]
    drawn = chosen.steps * chosen.batch_size
    count = min(chosen.latents or drawn, drawn)
    folder = request.run / "latents"
    key = {"weights": _digest(model, stage.parts), "data": pairs.config}

    def sample(lq: Any, seeds: list[int]) -> Any:
        with accelerator.autocast():
            return trainable.sample(model, lq, seeds)

    model.eval()
    if accelerator.is_main_process:
        latents.begin(folder, key)
    accelerator.wait_for_everyone()
    latents.make(
        folder,
        pairs,
        count,
        sample,
        request.settings.seed,
        accelerator.device,
        accelerator.process_index,
        accelerator.num_processes,
    )
    accelerator.wait_for_everyone()
    return latents.Latents(folder, count)


def _digest(model: Any, without: Sequence[str]) -> str:
    """sha256 of the model's weights but for the parts named."""
    digest = hashlib.sha256(repr(model.config).encode())
    for name, value in model.state_dict().items():
        if name.split(".")[0] not in without:
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _accelerator(request: Request) -> Any:
    try:
        import torch
        import torch.utils.tensorboard
        from accelerate import Accelerator

        from ..codecs.torch_compat import import_torchvision
    except ImportError as error:
        raise UnavailableError(
            f"training needs {error.name}; run: pip install 'cirbench[train]'"
        ) from error
    import_torchvision()  # diffusers imports it; see there
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if request.device and not there.get(request.device, request.device == "cpu"):
        raise CirbenchError(f"there is no {request.device} device here; leave --device out")
    # Said, not found out: accelerate joins the processes of a CPU run only when it is told.
    cpu = request.device == "cpu" or not any(there.values())
    precision = request.settings.precision
    if precision == "fp16" and (cpu or not there["cuda"]):
        raise CirbenchError("fp16 trains on CUDA GPUs only; use --precision bf16 or no here")
    try:
        return Accelerator(cpu=cpu, mixed_precision=precision)
    except ValueError as error:
        # Its state is the process's: a second run in it cannot have another precision.
        raise CirbenchError(
            f"training with --precision {precision} cannot begin ({error}); start a new process"
        ) from error


def _silent(line: str) -> None:
    """Say nothing: what all processes but the first do."""
