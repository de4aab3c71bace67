"""Training state on disk: written whole under another name, renamed, the last few kept.

``<run>/<stage>/step-<n>/`` holds what a restorer reads (``model.safetensors`` and
``checkpoint.toml``) and what training goes on from (``training.safetensors``, ``training.json``).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import CirbenchError
from ..tensors import save

_TENSORS, _FACTS = "training.safetensors", "training.json"


@dataclass(frozen=True)
class Saved:
    """A checkpoint: its folder, stage and step."""

    folder: Path
    stage: str
    step: int


def found(run: Path, stage: str) -> list[Saved]:
    """The finished checkpoints of a stage, oldest first."""
    folders = [one for one in (run / stage).glob("step-*") if (one / _FACTS).is_file()]
    kept = [one for one in folders if one.name.removeprefix("step-").isdigit()]
    return sorted(
        (Saved(one, stage, int(one.name.removeprefix("step-"))) for one in kept),
        key=lambda one: one.step,
    )


def write(
    run: Path,
    stage: str,
    step: int,
    tensors: Mapping[str, Tensor],
    facts: Mapping[str, Any],
    model: Callable[[Path], None],
    keep: int,
) -> Path:
    """Write a checkpoint, then delete all but the last ``keep`` of the stage.

    What killed runs left half-written is deleted first.

    Args:
        tensors, facts: what training goes on from.
        model: writes into a folder what a restorer reads.

    Raises CirbenchError when it cannot be written; older ones stay.
    """
    target = run / stage / f"step-{step:07d}"
    part = target.with_name(target.name + ".part")
    try:
        for killed in (run / stage).glob("step-*.part"):
            shutil.rmtree(killed, ignore_errors=True)
        part.mkdir(parents=True)
        on_cpu = {name: one.detach().cpu().contiguous() for name, one in tensors.items()}
        save(on_cpu, part / _TENSORS)
        (part / _FACTS).write_text(json.dumps(dict(facts), indent=1) + "\n", encoding="utf-8")
        model(part)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(part, target)
    except OSError as error:
        raise CirbenchError(f"the checkpoint {target} cannot be written ({error})") from error
    for old in found(run, stage)[:-keep]:
        shutil.rmtree(old.folder, ignore_errors=True)
    return target


def read(saved: Saved) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What was written. Raises CirbenchError naming a file that is damaged."""
    try:
        tensors = load_file(saved.folder / _TENSORS)
        facts: dict[str, Any] = json.loads((saved.folder / _FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError, SafetensorError) as error:
        raise CirbenchError(
            f"the checkpoint {saved.folder} is damaged ({error}); delete it to go on from the one "
            "before"
        ) from error
    return tensors, facts


def pack(optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """The optimisers' tensors under flat names. Learning rates follow from the step."""
    flat: dict[str, Tensor] = {}
    for number, one in enumerate(optimizers):
        for index, values in one.state_dict()["state"].items():
            for key, value in values.items():
                flat[f"optimizer.{number}.{index}.{key}"] = torch.as_tensor(value)
    return flat


def unpack(optimizers: list[torch.optim.Optimizer], flat: Mapping[str, Tensor]) -> None:
    """Put :func:`pack`'s tensors back."""
    for number, one in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in flat.items():
            kind, _, rest = name.partition(".")
            if kind == "optimizer" and rest.startswith(f"{number}."):
                _, index, key = rest.split(".", 2)
                state.setdefault(int(index), {})[key] = value
        one.load_state_dict({**one.state_dict(), "state": state})
