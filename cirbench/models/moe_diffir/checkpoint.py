"""Checkpoints: a safetensors file that holds its own configuration, and the note beside it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ... import tensors
from ...errors import CirbenchError
from .config import ModelConfig, from_dict, to_dict
from .external import bring, fill
from .model import MoEDiffIR
from .outline import outline
from .parts import parts

NAME = "moe_diffir"
FILE = "model.safetensors"
FORMAT = "cirbench-moe-diffir-1"
_MOST_NUMBERS = 10_000_000_000  # nine times the paper's model


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
    target = folder / FILE
    tensors.save(state, target, metadata)
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

    Raises CirbenchError when it is not one of ours, parts are missing, or its configuration makes
    no model or a larger one than the weights fill.
    """
    config = _config(path)
    wanted = outline(config, str(_file(path)))
    given = _shapes(path)
    names = {key.partition(".")[0] for key in given}
    if missing := [name for name in wanted if name not in names]:
        raise CirbenchError(
            f"{_file(path)} holds no {', '.join(missing)}; it was saved to go with weights of "
            "your own, load it through a preset that brings them"
        )
    if sum(wanted.values()) > sum(map(prod, given.values())):
        raise CirbenchError(f"{_file(path)} is damaged: its config is of a larger model")
    model = MoEDiffIR(config)
    load_into(model, path)
    return model.eval().requires_grad_(False)


def load_with(path: Path, external: str) -> MoEDiffIR:
    """The model in a checkpoint that was trained around weights of others, with those weights.

    Args:
        path: the checkpoint.
        external: its note of them: JSON, name to what :func:`.external.bring` says of it. Noted
            paths that are not there, hub ids among them, are looked for among the weight files:
            a checkpoint makes nothing be downloaded.

    Raises CirbenchError when it is not one of ours or the weights are not what they were then;
    UnavailableError when they are gone.
    """
    try:
        noted = {str(name): str(text) for name, text in json.loads(external).items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise CirbenchError(f"{_file(path)} is damaged: its note of other weights") from error
    config = _config(path)
    if sum(outline(config, str(_file(path))).values()) > _MOST_NUMBERS:
        raise CirbenchError(f"{_file(path)} is damaged: its config is of a giant model")
    model = MoEDiffIR(config)
    places = {name: text.rpartition(" (") for name, text in noted.items()}
    there = bring(model, {name: one[0] for name, one in places.items() if Path(one[0]).exists()})
    for name, (_, _, digest) in places.items():
        if there.get(name, "").rpartition(" (")[2] != digest:
            raise CirbenchError(
                f"{_file(path)} was trained with the {name} weights {noted[name]}, here is "
                f"{there.get(name)}; put those back"
            )
    load_into(model, path)
    return model.eval().requires_grad_(False)


def _config(path: Path) -> ModelConfig:
    found = metadata(path)
    try:
        return from_dict(json.loads(found["config"]))
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CirbenchError(f"{_file(path)} is damaged: its config is none ({error})") from error
    except CirbenchError as error:
        raise CirbenchError(f"{_file(path)} is damaged: {error}") from error


def _shapes(path: Path) -> dict[str, list[int]]:
    """Shape of every tensor in a checkpoint, from its header."""
    with safe_open(_file(path), "pt") as file:
        return {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118


def load_into(model: MoEDiffIR, path: Path) -> list[str]:
    """Fill those parts of ``model`` that a checkpoint holds; returns their names.

    Raises CirbenchError when it is not one of ours, or a part does not fit.
    """
    return _fill(model, path, *_read(path))


def start_from(model: MoEDiffIR, path: Path, needed: Iterable[str]) -> list[str]:
    """Fill what fits of ``model`` from a checkpoint of another configuration.

    Args:
        model: parts that are not filled stay as they are.
        path: the checkpoint.
        needed: parts that have to be in it and have to fit, if the model has them.

    Returns:
        Names of the parts that were not filled.

    Raises CirbenchError when it is not one of ours, or a needed part is missing or does not fit.
    """
    state, scale = _read(path)
    there, kept = parts(model), {}
    wanted = {name for name in needed if name in there}
    if missing := sorted(wanted - state.keys()):
        raise CirbenchError(f"{_file(path)} holds no {', '.join(missing)}; train those first")
    for name in there:
        mine = {key: one.shape for key, one in there[name].state_dict().items()}
        same = mine == {key: one.shape for key, one in state.get(name, {}).items()}
        if name in wanted or same:
            kept[name] = state[name]
    _fill(model, path, kept, scale)
    return [name for name in there if name not in kept]


def _read(path: Path) -> tuple[dict[str, dict[str, Tensor]], Tensor]:
    """The tensors of every part, and the latents' scale."""
    metadata(path)
    path = _file(path)
    grouped: dict[str, dict[str, Tensor]] = {}
    with safe_open(path, "pt") as file:
        for key in file.keys():  # noqa: SIM118 (no mapping)
            name, _, rest = key.partition(".")
            value = grouped.setdefault(name, {})[rest] = file.get_tensor(key)
            if value.is_complex() or not torch.isfinite(value.float()).all():
                raise CirbenchError(f"{path} is damaged: some numbers of {key} are not finite")
    scale = grouped.pop("latent_scale", {}).get("")
    if scale is None or scale.numel() != 1:
        raise CirbenchError(f"{path} is damaged: it holds no latent_scale")
    return grouped, scale.reshape(())


def _fill(
    model: MoEDiffIR, path: Path, grouped: Mapping[str, Mapping[str, Tensor]], scale: Tensor
) -> list[str]:
    there = parts(model)
    for name, state in grouped.items():
        if name not in there:
            raise CirbenchError(f"{path} has a part {name} that this model has not; use its config")
        fill(there[name], state, f"{path} ({name})")
    model.latent_scale.copy_(scale)
    return list(grouped)


def digest(path: Path) -> str:
    """sha256 of the weights, in hex."""
    with open(_file(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file(path: Path) -> Any:
    return path / FILE if path.is_dir() else path
