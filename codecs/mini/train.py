"""Train one of the mini weight files: `python train.py c_psnr-q3.toml --photos FOLDER`.

The networks are the codecs' own (CompressAI's Cheng2020, `cirbench.codecs.hific_model`); what
is here is how their weights came to be. Each TOML beside this file is one model. The loss is

    bits per pixel + lambda * (weighted distortions of the TOML)

and lambda follows the rate: it falls while the model spends more than `bpp`, and rises while it
spends less, so every model ends at the rate it is meant for. No loss needs a downloaded network.

Everything random in a step comes from (seed, step), and a checkpoint holds everything else, so an
interrupted run that is started again ends with the weights of one that never stopped.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from mini_networks import Cheng, HiFiC
from mini_plan import Photos, Plan, load_plan, tiny
from mini_step import Run
from safetensors.torch import save_file

from cirbench.errors import CirbenchError
from cirbench.samples import sample_source
from cirbench.sources import Source


def run(
    plan: Plan,
    photos: Photos,
    folder: Path,
    start: Path | None = None,
    until: float = math.inf,
    every: int = 500,
    device: str = "cpu",
    say: Callable[[str], None] = print,
) -> Path | None:
    """Train, going on from the checkpoint in ``folder`` if there is one.

    Args:
        start: checkpoint of the model to start from, for a plan that names one.
        until: :func:`time.monotonic` at which to save and stop.
        every: steps between checkpoints; log lines are means over 50 steps.

    Returns the weight file, or None when time ran out first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, log = folder / "checkpoint.pt", folder / "log.jsonl"
    training = Run(plan, photos, device)
    if checkpoint.exists():
        training.restore(torch.load(checkpoint, weights_only=True))
        _truncate(log, training.step)
        say(f"{plan.name}: going on at step {training.step}")
    elif plan.start:
        if start is None or not start.exists():
            raise CirbenchError(f"{plan.name} starts from {plan.start}: train that first")
        training.start_from(torch.load(start, weights_only=True))
    recent: list[dict[str, float]] = []
    began = time.monotonic()
    while training.step < plan.steps:
        recent.append(training.advance())
        if training.step % 50 == 0 or training.step == plan.steps:
            means = {
                key: round(sum(r[key] for r in recent) / len(recent), 5)
                for key in recent[-1]
                if all(key in r for r in recent)
            }
            seconds = (time.monotonic() - began) / len(recent)
            line = json.dumps({"step": training.step, **means, "seconds": round(seconds, 3)})
            with log.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            recent, began = [], time.monotonic()
            if training.step % 500 == 0:
                say(f"{plan.name} {line}")
        stop = time.monotonic() > until
        if training.step % every == 0 or training.step == plan.steps or stop:
            _save(training.state(), checkpoint)
        if stop and training.step < plan.steps:
            say(f"{plan.name}: stopped at step {training.step}; run it again to go on")
            return None
    return write_weights(training.codec, folder / f"{plan.name}.safetensors")


def write_weights(codec: Cheng | HiFiC, path: Path) -> Path:
    """The weight file of a trained model."""
    tensors, metadata = codec.cpu().weights()
    save_file(tensors, path, metadata)
    return path


def _save(state: dict[str, Any], path: Path) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def _truncate(log: Path, step: int) -> None:
    """Drop what was logged after the checkpoint."""
    if log.exists():
        lines = log.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        log.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


@click.command()
@click.argument("plans", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--photos",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of photos; may be given again.  [default: the sample photos]",
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--minutes", type=float, default=math.inf, help="Save and stop after so long.")
@click.option("--threads", type=int, default=0, help="Of torch.  [default: its own choice]")
@click.option("--device", default="cpu", show_default=True)
@click.option("--smoke", is_flag=True, help="Two steps of a tiny version, to see that it runs.")
def main(
    plans: tuple[Path, ...],
    folders: tuple[Path, ...],
    out: Path,
    minutes: float,
    threads: int,
    device: str,
    smoke: bool,
) -> None:
    """Train the models of PLANS, one after the other, each into OUT/NAME/.

    Started again, it goes on where it was.
    """
    if threads:
        torch.set_num_threads(threads)
    until = time.monotonic() + 60 * minutes
    try:
        photos = Photos([Source("train", folder, "") for folder in folders] or [sample_source()])
        for path in plans:
            plan = load_plan(path)
            start = (
                out / load_plan(path.with_name(plan.start)).name / "checkpoint.pt"
                if plan.start
                else None
            )
            if smoke:
                plan, start = tiny(plan), None
            made = run(plan, photos, out / plan.name, start, until, device=device, say=click.echo)
            if made is None:
                return
            click.echo(f"wrote {made}, {made.stat().st_size:,} bytes")
    except CirbenchError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
