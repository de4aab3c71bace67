"""``cirbench train``: options, and what it prints."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import click

from . import options
from .errors import CirbenchError
from .filling import assignments

_path = click.Path(path_type=Path)
_STAGES = {"0": (0,), "1": (1,), "2": (2,), "1,2": (1, 2), "all": (0, 1, 2)}


@click.command()
@click.option("--data", default="data/cir", show_default=True, type=_path, help="The data set.")
@click.option(
    "--preset", default="", help="tiny, paper, release or a TOML file; default: what fits here."
)
@click.option(
    "--stage",
    type=click.Choice(list(_STAGES)),
    help="0: the prior, 1: prompts, 2: compensator; default: all that are not there yet.",
)
@click.option("--steps", type=click.IntRange(1), help="Steps of each stage.")
@click.option("--batch-size", type=click.IntRange(1), help="Pairs per step, in all.")
@click.option("--precision", type=click.Choice(["no", "bf16", "fp16"]), help="no is float32.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting, e.g. model.prompt=multiple or stages.prompt.lr=1e-4.",
)
@click.option("--seed", type=click.IntRange(0), help="Decides everything that is drawn [0].")
@click.option(
    "--from",
    "init",
    metavar="PATH",
    help="Checkpoint to start from. Without it, tiny goes on from the one that comes with "
    "cirbench; 'scratch' starts from nothing.",
)
@click.option("--out", type=_path, help="The run's folder; default: runs/ and the preset's name.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, or the newest one.")
@click.option(
    "--random-weights",
    is_flag=True,
    help="Leave the weights random that should be brought: to measure cost, not to restore.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda", "mps"]), help="Default: the best one.")
@options.weights_dir_option
def train(**given: Any) -> None:
    """Train MoE-DiffIR on a data set.

    Without options: the train split of data/cir, with the preset that this machine can run. Ctrl-C
    saves and ends; --resume goes on exactly there. Several GPUs or machines: see docs/train.md.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise CirbenchError("training needs torch; run: pip install 'cirbench[train]'") from error
    from .train import loop
    from .train import run as training

    request = _resumed(given) if given["resume"] else _fresh(given)
    request = dataclasses.replace(request, device=given["device"])
    click.echo(f"run: {request.run}", err=True)
    try:
        folder = training.train(request, lambda line: click.echo(line, err=True))
    except loop.Interrupted as stop:
        click.echo(f"stopped; saved {stop.folder}", err=True)
        click.echo(f"go on with: cirbench train --resume --out {request.run}", err=True)
        sys.exit(130)
    click.echo(f"  {folder}")


def _fresh(given: dict[str, Any]) -> Any:
    from .evaluation import checkpoints
    from .train import machine
    from .train import run as training
    from .train import settings as presets

    name = given["preset"]
    if not name:
        choice = machine.choose()
        name = choice.preset
        for line in choice.lines:
            click.echo(line, err=True)
    run = given["out"] or training.fresh(Path(name).stem)
    if (run / "settings.json").exists():
        raise CirbenchError(f"{run} holds a run; add --resume to go on with it, or name another")
    chosen, stage, init = presets.preset(name), given["stage"], given["init"]
    shipped = checkpoints.shipped() if chosen.size == "tiny" else None
    if init is None and shipped and stage in (None, "1", "2", "1,2"):
        init, stage = shipped.path, stage or "1,2"
    return training.Request(
        settings=_changed(chosen, given),
        data=given["data"],
        run=run,
        stages=_STAGES[stage or "all"],
        init=Path(init) if init and init != "scratch" else None,
        random_weights=given["random_weights"],
    )


def _resumed(given: dict[str, Any]) -> Any:
    from .train import run as training

    run = given["out"] or training.newest()
    if run is None:
        raise CirbenchError(f"there is no run under {training.RUNS} to resume; leave --resume out")
    before = training.remembered(run)
    stages = _STAGES[given["stage"]] if given["stage"] else before.stages
    return dataclasses.replace(before, settings=_changed(before.settings, given), stages=stages)


def _changed(settings: Any, given: dict[str, Any]) -> Any:
    """Settings with what the options say."""
    from .train import settings as presets

    changes: dict[str, Any] = {}
    for key, option in (("steps", "steps"), ("batch_size", "batch_size")):
        if given[option] is not None:
            changes |= {f"stages.{name}.{key}": given[option] for name in settings.stages}
    changes |= {key: given[key] for key in ("precision", "seed") if given[key] is not None}
    return presets.change(settings, {**changes, **assignments(given["changes"])})
