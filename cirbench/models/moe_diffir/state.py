"""State dicts in files of others: read without running anything, loaded without a key left over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import CirbenchError, UnavailableError

_WRAPPERS = ("state_dict", "model", "model_state_dict")


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors``, ``.pt``, ``.pth`` or ``.bin`` file, on the CPU.

    ``{"state_dict": ...}`` and the ``module.`` of parallel training are unwrapped.

    Raises CirbenchError for a file that cannot be read or is a TorchScript archive.
    """
    if not path.is_file():
        raise UnavailableError(f"there is no file {path}; give the path of the checkpoint")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            raw: Any = load_file(path)
        else:
            raw = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file provokes in the reader
        raise CirbenchError(
            f"{path} cannot be read as plain weights ({first_line(error)}); convert it to "
            "safetensors"
        ) from error
    for name in _WRAPPERS:
        if isinstance(raw, Mapping) and isinstance(raw.get(name), Mapping):
            raw = raw[name]
    state = {key: one for key, one in dict(raw).items() if isinstance(one, Tensor)}
    if state and all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): one for key, one in state.items()}
    return state


def fill(part: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load ``state`` into ``part``; every key and shape must be the part's own.

    Raises CirbenchError naming the first that is not.
    """
    wanted = {key: tuple(one.shape) for key, one in part.state_dict().items()}
    # Old checkpoints lack, or hold, buffers that are no weights.
    extra = ("position_ids", "num_batches_tracked")
    given = {key: tuple(one.shape) for key, one in state.items()}
    for key in sorted(wanted.keys() | given.keys()):
        if key.endswith(extra) and (key not in wanted or key not in given):
            continue
        if wanted.get(key) != given.get(key):
            raise CirbenchError(
                f"{source} does not fit the model: {key} has shape {given.get(key)}, not "
                f"{wanted.get(key)}; set the model's sizes to those of the weights"
            )
    part.load_state_dict({key: one for key, one in state.items() if key in wanted}, strict=False)


def first_line(error: Exception) -> str:
    """What a library says, short enough for our own sentence."""
    lines = str(error).strip().splitlines()
    return json.dumps(lines[0][:160]) if lines else type(error).__name__
