"""HiFiC checkpoints: the public PyTorch files and our safetensors, read without running code.

A public file is a pickle of ``{"args": {...}, "model_state_dict": {...}, ...}``. A pickle can call
any function; ``weights_only`` restricts it to tensors, plain containers and the names below, and
those stand for classes of ours that do nothing.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CirbenchError
from . import weight_file
from .hific_model import Config, HiFiC

_PARTS = ("Encoder.", "Generator.", "Hyperprior.analysis_net.", "Hyperprior.synthesis_")
_DENSITY = "Hyperprior.hyperlatent_likelihood."


class _Attributes:
    """Stands for a harmless class found in a checkpoint: keeps attributes, does nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            vars(self).update(state)


# The public code's own holder of arguments, argparse's, and numpy scalars (whose value we ignore).
_STAND_INS = [
    (_Attributes, name)
    for name in (
        "src.helpers.utils.Struct",
        "argparse.Namespace",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.dtype",
    )
]


def load(path: Path) -> HiFiC:
    """The model in a checkpoint: float32, on the CPU, in evaluation mode.

    Args:
        path: a public ``.pt`` file, or ``.safetensors`` (float16 or 32) with the same keys and the
            public ``args`` as JSON in its metadata's ``args``.

    Raises CirbenchError, in one sentence, for anything that is not a usable HiFiC checkpoint.
    Nothing in the file is executed.
    """
    read = _read_safetensors if path.suffix == ".safetensors" else _read_pickle
    args, state = read(path)
    state = {key: value for key, value in state.items() if key.startswith((*_PARTS, _DENSITY))}
    if not weight_file.fit(state, path):
        raise _refused(path, "its tensors are larger than the file")
    with torch.device("meta"):
        model = HiFiC(_config(path, args, state))
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in state.items()}
    for key in sorted(wanted.keys() | given.keys()):
        if wanted.get(key) != given.get(key):
            raise _refused(path, f"{key} has shape {given.get(key)}, not {wanted.get(key)}")
    copies = {key: value.detach().to(torch.float32, copy=True) for key, value in state.items()}
    if not weight_file.are_finite(copies):
        raise _refused(path, "some of its numbers are not finite")
    model.load_state_dict(copies, assign=True)
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _refused(path: Path, why: str) -> CirbenchError:
    return CirbenchError(f"{path} is not a usable HiFiC checkpoint: {why}; get it again")


def _read_pickle(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with torch.serialization.safe_globals(_STAND_INS):  # type: ignore[arg-type]
            # mmap: two thirds of a public file are optimiser states that nobody reads here.
            raw = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from error
    except Exception as error:  # whatever a damaged or hostile file provokes in the reader
        raise _refused(path, weight_file.reason(error)) from error
    if not isinstance(raw, dict) or "args" not in raw or "model_state_dict" not in raw:
        raise _refused(path, "it has no args and model_state_dict")
    args, state = raw["args"], raw["model_state_dict"]
    args = vars(args) if isinstance(args, _Attributes) else args
    if not isinstance(args, dict) or not isinstance(state, dict):
        raise _refused(path, "its args or model_state_dict is not a dictionary")
    return args, weight_file.tensors(state)


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            args = json.loads((file.metadata() or {}).get("args", "null"))
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise _refused(path, f"it cannot be read ({error})") from error
    if not isinstance(args, dict):
        raise _refused(path, "its metadata has no args")
    return args, state


def _config(path: Path, args: Mapping[str, Any], state: Mapping[str, Tensor]) -> Config:
    """Widths from the tensors, choices from ``args``; both must agree where both speak."""
    args = {key: value for key, value in args.items() if isinstance(value, bool | int | str)}
    if args.get("sample_noise") or args.get("use_latent_mixture_model"):
        raise _refused(path, "its generator draws noise or its prior is a mixture, unlike HiFiC's")
    likelihood = args.get("likelihood_type", "gaussian")
    if likelihood not in ("gaussian", "logistic"):
        raise _refused(path, f"its likelihood_type is {likelihood!r}")
    try:
        encoder = tuple(
            state[f"Encoder.conv_block{number}.1.weight"].shape[0] for number in range(1, 6)
        )
        upsampled = (
            state[f"Generator.upconv_block{number}.0.weight"].shape[1] for number in range(1, 5)
        )
        config = Config(
            encoder=encoder,
            generator=(state["Generator.conv_block_init.2.weight"].shape[0], *upsampled),
            latent=state["Encoder.conv_block_out.1.weight"].shape[0],
            hyper=state[_DENSITY + "H_0"].shape[0],
            blocks=len({key.split(".")[1] for key in state if key.startswith("Generator.res")}),
            channel_norm="Encoder.conv_block1.2.gamma" in state,
            signed=bool(args.get("normalize_input_image", False)),
            likelihood=likelihood,
        )
    except (KeyError, IndexError) as error:
        raise _refused(path, f"{error.args[0]} is missing or flat") from error
    if min(*config.encoder, *config.generator, config.latent, config.hyper) < 1:
        raise _refused(path, "one of its layers is empty")
    said = {"latent_channels": config.latent, "n_residual_blocks": config.blocks}
    for key, found in said.items():
        if args.get(key, found) != found:
            raise _refused(path, f"args say {key} {args[key]!r}, its tensors {found}")
    return config
