"""Weights that a user brings: Stable Diffusion, DA-CLIP, CLIP.

:func:`bring` fills a model with all that it needs. Every loader reads the format its weights are
published in, checks every key and shape, and runs nothing that is in a file. None of these weights
comes with cirbench.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ... import weights
from ...errors import CirbenchError, UnavailableError
from .config import ModelConfig
from .locate import RECORDS, locate, needed
from .model import MoEDiffIR
from .state import fill, first_line, read_state

__all__ = [
    "bring",
    "fill",
    "load_clip",
    "load_daclip",
    "load_stable_diffusion",
    "locate",
    "needed",
    "read_state",
    "stable_diffusion_config",
]

_ANY = ("sample_size", "upcast_attention", "force_upcast", "scaling_factor")
"""Settings of a UNet or VAE that do not have to be the model's: they change no result, or come with
the weights."""


def bring(model: MoEDiffIR, folders: Mapping[str, str]) -> dict[str, str]:
    """Fill ``model`` with all external weights that it needs (:func:`needed`).

    Build it from :func:`stable_diffusion_config` of what :func:`locate` finds: sizes, heads and
    diffusion have to be those of the weights.

    Args:
        model: its parts that are not external stay as they are.
        folders: paths and hub ids by name (``stable_diffusion``, ``clip``, ``da_clip``); what is
            not given is looked for among the weight files.

    Returns:
        What was used, by name: path or hub id, with the SHA-256 of the file, or of the loaded
        tensors where there are several files.

    Raises UnavailableError, one for all that is missing; CirbenchError for weights that do not fit.
    """
    found = locate(model.config, folders)
    for name, source in found.items():
        if name == "stable_diffusion":
            _require_fitting(model, source)
        elif not folders.get(name):
            _require_published(name, Path(source))
    used = {}
    for name, source in found.items():
        if name == "stable_diffusion":
            load_stable_diffusion(model, source)
            parts = [model.unet, model.vae, model.null_context]
        elif name == "clip":
            load_clip(model, Path(source))
            parts = [model.visual]
        else:
            load_daclip(model, Path(source))
            parts = [model.prior]
        whole = Path(source).is_file()
        digest = weights.sha256(Path(source)) if whole else _digest(parts)
        used[name] = f"{source} ({'' if whole else 'tensors '}sha256 {digest})"
    return used


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
            f"{path} holds no CLIP vision model that transformers can read ({first_line(error)}); "
            "give the folder with its config.json"
        ) from error
    fill(part.network, found.state_dict(), str(path))


def _require_published(name: str, path: Path) -> None:
    one = weights.record(RECORDS[name])
    if weights.Found(one, path).genuine is False:
        raise UnavailableError(
            f"{path} is not the published file (its sha256 is another); move it away and run: "
            f"cirbench weights pull {one.name}, or give it by --set external.{name}={path}"
        )


def _require_fitting(model: MoEDiffIR, source: str) -> None:
    """What shapes do not show: heads, norms, the diffusion that the UNet was trained for."""
    wanted = stable_diffusion_config(model.config, source)
    for name, network in (("unet", model.unet), ("vae", model.vae)):
        for key, theirs in getattr(wanted, name).items():
            ours = network.config.get(key, theirs)
            if key not in _ANY and _plain(ours) != _plain(theirs):
                raise _unfit(source, f"{name}.{key}", ours, theirs)
    for field in dataclasses.fields(wanted.schedule):
        ours, theirs = (getattr(one.schedule, field.name) for one in (model.config, wanted))
        if ours != theirs:
            raise _unfit(source, f"schedule.{field.name}", ours, theirs)


def _unfit(source: str, key: str, ours: Any, theirs: Any) -> CirbenchError:
    return CirbenchError(
        f"{source} does not fit the model: {key} is {theirs!r} there and {ours!r} in the model; "
        "do not set it, the weights decide"
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _digest(parts: list[nn.Module]) -> str:
    """SHA-256 over names and values of all tensors, the same for every layout of files."""
    found = hashlib.sha256()
    for part in parts:
        for key, value in sorted(part.state_dict().items()):
            found.update(key.encode())
            found.update(value.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


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
        f"{source} is not a Stable Diffusion in diffusers layout ({what}: {first_line(error)}); "
        "give a folder or a hub id with unet, vae, scheduler, tokenizer and text_encoder"
    )
