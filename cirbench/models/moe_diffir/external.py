"""Weights that a user brings: Stable Diffusion, DA-CLIP, CLIP.

Every loader reads the format its weights are published in, checks every key and shape, and runs
nothing that is in a file. None of these weights comes with cirbench.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import CirbenchError, UnavailableError
from .config import ModelConfig
from .model import MoEDiffIR

_WRAPPERS = ("state_dict", "model", "model_state_dict")


def stable_diffusion_config(config: ModelConfig, source: str) -> ModelConfig:
    """``config`` with the UNet, VAE and diffusion of a Stable Diffusion in diffusers layout.

    Args:
        source: a local folder with ``unet/``, ``vae/`` and ``scheduler/``, or a hub id, which is
            fetched with diffusers' own cache.

    Raises CirbenchError when one of its configurations cannot be read.
    """
    import diffusers

    kinds = {
        "unet": diffusers.UNet2DConditionModel,
        "vae": diffusers.AutoencoderKL,
        "scheduler": diffusers.DDPMScheduler,
    }
    found = {}
    for folder, kind in kinds.items():
        try:
            values: Any = kind.load_config(source, subfolder=folder)
        except (OSError, ValueError) as error:
            raise _no_diffusion(source, folder, error) from error
        found[folder] = {key: one for key, one in values.items() if not key.startswith("_")}
    names = [one.name for one in dataclasses.fields(config.schedule)]
    schedule = {key: found["scheduler"][key] for key in names if key in found["scheduler"]}
    return dataclasses.replace(
        config,
        unet=found["unet"],
        vae=found["vae"],
        schedule=dataclasses.replace(config.schedule, **schedule),
    )


def load_stable_diffusion(model: MoEDiffIR, source: str) -> None:
    """Fill UNet, VAE and null context; ``source`` as in :func:`stable_diffusion_config`.

    The null context is the embedding of the empty prompt by the folder's own text encoder.

    Raises CirbenchError when the folder is incomplete or its sizes are not the model's.
    """
    import diffusers
    import transformers

    try:
        unet = diffusers.UNet2DConditionModel.from_pretrained(source, subfolder="unet")
        vae = diffusers.AutoencoderKL.from_pretrained(source, subfolder="vae")
        tokenizer = transformers.CLIPTokenizer.from_pretrained(source, subfolder="tokenizer")
        text = transformers.CLIPTextModel.from_pretrained(source, subfolder="text_encoder")
    except (OSError, ValueError, RuntimeError) as error:
        raise _no_diffusion(source, "weights", error) from error
    fill(model.unet, unet.state_dict(), f"{source} (unet)")
    fill(model.vae, vae.state_dict(), f"{source} (vae)")
    model.latent_scale.fill_(float(vae.config.scaling_factor))
    width = tokenizer.model_max_length
    tokens: Any = tokenizer("", padding="max_length", max_length=width, return_tensors="pt")
    with torch.inference_mode():
        empty = text(tokens.input_ids).last_hidden_state[0]
    fill(model.null_context, {"tokens": empty.clone()}, f"{source} (text_encoder)")


def load_daclip(model: MoEDiffIR, path: Path) -> None:
    """Fill the degradation prior from a DA-CLIP checkpoint (open_clip state dict).

    Its image controller is used: keys ``visual_control.*``, whose transformer is wrapped once more
    (``transformer.transformer.resblocks``). Its zero-initialised layers, which only lead into the
    image tower, are left out, and so is the projection to the joint space.

    Raises CirbenchError when the file is not such a checkpoint or has other sizes.
    """
    state = _tower(read_state(path), "visual_control.", path)
    state = {
        key.replace("transformer.transformer.", "transformer."): value
        for key, value in state.items()
        if not key.startswith("transformer.zero_modules.") and key != "proj"
    }
    fill(_part(model, "prior", "daclip").network, state, str(path))


def load_clip(model: MoEDiffIR, path: Path) -> None:
    """Fill the visual encoder.

    Args:
        path: for ``clip-resnet`` an open_clip state dict (keys ``visual.*``), for ``clip-vit`` a
            folder of transformers' (CLIPVisionModel or CLIPModel).

    Raises CirbenchError when the file is not such a checkpoint or has other sizes.
    """
    part = _part(model, "visual", "clip-resnet", "clip-vit")
    if model.config.visual.kind == "clip-resnet":
        state = _tower(read_state(path), "visual.", path)
        kept = {key: one for key, one in state.items() if not key.startswith("attnpool.")}
        fill(part.network, kept, str(path))
        return
    import transformers

    try:
        found: Any = transformers.CLIPVisionModel.from_pretrained(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise CirbenchError(
            f"{path} holds no CLIP vision model that transformers can read ({_first(error)}); "
            "give the folder with its config.json"
        ) from error
    fill(part.network, found.state_dict(), str(path))


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
            f"{path} cannot be read as plain weights ({_first(error)}); convert it to safetensors"
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


def _part(model: MoEDiffIR, name: str, *kinds: str) -> Any:
    kind = getattr(model.config, name).kind
    if kind not in kinds or getattr(model, name) is None:
        raise CirbenchError(
            f"the model has no {name} of kind {' or '.join(kinds)}; set {name}.kind={kinds[0]}"
        )
    return getattr(model, name)


def _tower(state: Mapping[str, Tensor], prefix: str, path: Path) -> dict[str, Tensor]:
    found = {key.removeprefix(prefix): one for key, one in state.items() if key.startswith(prefix)}
    if not found:
        raise CirbenchError(
            f"{path} has no weights called {prefix}*; it is not the checkpoint that is meant here"
        )
    return found


def _no_diffusion(source: str, what: str, error: Exception) -> CirbenchError:
    return CirbenchError(
        f"{source} is not a Stable Diffusion in diffusers layout ({what}: {_first(error)}); give a "
        "folder or a hub id with unet, vae, scheduler, tokenizer and text_encoder"
    )


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return json.dumps(lines[0][:160]) if lines else type(error).__name__
