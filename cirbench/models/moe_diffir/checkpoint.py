"""Checkpoints: a safetensors file that holds its own configuration, and the note beside it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...errors import CirbenchError
from .config import from_dict, to_dict
from .external import fill
from .model import MoEDiffIR
from .parts import parts

NAME = "moe_diffir"
FILE = "model.safetensors"
FORMAT = "cirbench-moe-diffir-1"


def save(
    model: MoEDiffIR,
    folder: Path,
    only: Iterable[str] | None = None,
    notes: Mapping[str, str] | None = None,
) -> Path:
    """Write ``model.safetensors``, then ``checkpoint.toml``, both under a temporary name first.

    Args:
        folder: made when missing.
        only: names of the parts to keep (large frozen ones may be brought again); None for all.
        notes: for the metadata, such as ``trained_on`` and ``step``.

    Returns:
        Path of the weights.
    """
    names = list(parts(model)) if only is None else list(only)
    state: dict[str, Tensor] = {"latent_scale": model.latent_scale}
    for name in names:
        for key, value in parts(model)[name].state_dict().items():
            state[f"{name}.{key}"] = value.detach().cpu().contiguous()
    metadata = {**(notes or {}), "format": FORMAT, "config": json.dumps(to_dict(model.config))}
    folder.mkdir(parents=True, exist_ok=True)
    part, target = folder / f"{FILE}.part", folder / FILE
    save_file(state, part, metadata)
    os.replace(part, target)
    note = folder / "checkpoint.toml"
    note.with_suffix(".part").write_text(f'model = "{NAME}"\n', encoding="utf-8")
    os.replace(note.with_suffix(".part"), note)
    return target


def metadata(path: Path) -> dict[str, str]:
    """What a checkpoint (its folder or file) says about itself.

    Raises CirbenchError when it is not one of ours.
    """
    path = _file(path)
    try:
        with safe_open(path, "pt") as file:
            found = dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise CirbenchError(f"{path} cannot be read ({error}); is the path right?") from error
    if found.get("format") != FORMAT:
        raise CirbenchError(f"{path} is not a MoE-DiffIR checkpoint ({FORMAT})")
    return found


def load(path: Path) -> MoEDiffIR:
    """The model in a checkpoint that holds all of it, on the CPU, in evaluation mode.

    Raises CirbenchError when it is not one of ours, or parts are missing.
    """
    model = MoEDiffIR(from_dict(json.loads(metadata(path)["config"])))
    given = load_into(model, path)
    if missing := [name for name in parts(model) if name not in given]:
        raise CirbenchError(
            f"{_file(path)} holds no {', '.join(missing)}; it was saved to go with weights of "
            "your own, load it through a preset that brings them"
        )
    return model.eval().requires_grad_(False)


def load_into(model: MoEDiffIR, path: Path) -> list[str]:
    """Fill those parts of ``model`` that a checkpoint holds; returns their names.

    Raises CirbenchError when it is not one of ours, or a part does not fit.
    """
    metadata(path)
    path = _file(path)
    grouped: dict[str, dict[str, Tensor]] = {}
    with safe_open(path, "pt") as file:
        for key in file.keys():  # noqa: SIM118 (no mapping)
            name, _, rest = key.partition(".")
            grouped.setdefault(name, {})[rest] = file.get_tensor(key)
    scale = grouped.pop("latent_scale")
    there = parts(model)
    for name, state in grouped.items():
        if name not in there:
            raise CirbenchError(f"{path} has a part {name} that this model has not; use its config")
        fill(there[name], state, f"{path} ({name})")
    model.latent_scale.copy_(scale[""])
    return list(grouped)


def digest(path: Path) -> str:
    """sha256 of the weights, in hex."""
    with open(_file(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file(path: Path) -> Any:
    return path / FILE if path.is_dir() else path
