"""Which weights of others a model needs, and where they are. Nothing is read or downloaded here.

``docs/moe_diffir.md`` ("Weights of your own") has the formats; :mod:`.external` loads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ... import suggest, weights
from ...errors import CirbenchError, UnavailableError
from .config import ModelConfig

NAMES = ("stable_diffusion", "clip", "da_clip")
SD_FOLDER = "stable-diffusion-2-1-base"
"""How a folder in diffusers layout has to be called to be found among the weight files."""

RECORDS = {"clip": "clip-rn50", "da_clip": "daclip-vit-b-32"}
"""The records of ``manifests/weights.toml``."""


@dataclass(frozen=True)
class Need:
    """Something that a model needs from outside.

    Attributes:
        name: one of :data:`NAMES`.
        title: for people.
        given: what the user gave, or "".
        found: path or hub id, or "" when it is missing. A hub id is not looked up.
        file: what is looked for in :func:`cirbench.weights.search_dirs`, or "".
        get: how to get it.
    """

    name: str
    title: str
    given: str
    found: str
    file: str
    get: str


def needed(config: ModelConfig) -> list[str]:
    """Names of the external weights of a model, in the order of :data:`NAMES`.

    A ``tiny`` visual encoder reads latents that stage 0 made, so it goes with a UNet and VAE of
    our own; every other goes with a Stable Diffusion. What an ablation leaves out is not needed.
    """
    ours = config.visual.kind == "tiny"
    wanted = {
        "stable_diffusion": not ours,
        "clip": config.v2t and not ours,
        "da_clip": config.degradation_prior and config.prior.kind == "daclip",
    }
    return [name for name in NAMES if wanted[name]]


def needs(config: ModelConfig, folders: Mapping[str, str] | None = None) -> list[Need]:
    """All that :func:`needed` names, found or not.

    Args:
        config: the model.
        folders: what the user gives, by name: a folder or file, a hub id for those that are read
            from folders. The rest is looked for in :func:`cirbench.weights.search_dirs`.

    Raises CirbenchError for an unknown name.
    """
    given = dict(folders or {})
    for name in given:
        if name not in NAMES:
            hint = suggest.hint(name, NAMES)
            raise CirbenchError(f"no external weights are called {name!r}; {hint}")
    return [_need(config, name, given.get(name, "")) for name in needed(config)]


def locate(config: ModelConfig, folders: Mapping[str, str] | None = None) -> dict[str, str]:
    """Path or hub id of everything that is needed; arguments as :func:`needs`.

    Raises UnavailableError, one for all that is missing, with how to get each.
    """
    found = needs(config, folders)
    missing = [one for one in found if not one.found]
    if missing:
        texts = "; ".join(f"{one.name}: {one.title}{_wrong(one)} ({one.get})" for one in missing)
        folders_searched = ", ".join(map(str, weights.search_dirs()))
        raise UnavailableError(
            f"the model needs weights that are not here: {texts}; searched: {folders_searched}"
        )
    return {one.name: one.found for one in found}


def _wrong(need: Need) -> str:
    if not need.given:
        return ""
    there = Path(need.given).expanduser().exists()
    return f", which {need.given} is not" if there else f", and {need.given} does not exist"


def _need(config: ModelConfig, name: str, given: str) -> Need:
    if name == "stable_diffusion":
        return _stable_diffusion(given)
    if name == "clip" and config.visual.kind == "clip-vit":
        get = "give its folder in transformers' layout, or a hub id: --set external.clip=…"
        found = _folder_or_hub_id(given, "config.json")
        return Need(name, "a CLIP vision transformer", given, found, "", get)
    return _file(name, given)


def _file(name: str, given: str) -> Need:
    one = weights.record(RECORDS[name])
    path = Path(given).expanduser() if given else weights.find(one.name)
    found = str(path) if path and path.is_file() else ""
    title = {"clip": "OpenAI's CLIP RN50", "da_clip": "DA-CLIP ViT-B/32"}[name]
    get = (
        f"{one.size}, licence {one.licence}; run: cirbench weights pull {one.name}, or give the "
        f"file: --set external.{name}=FILE"
    )
    return Need(name, title, given, found, one.file, get)


def _stable_diffusion(given: str) -> Need:
    inside = ("unet", "config.json")
    if given:
        found = _folder_or_hub_id(given, "/".join(inside))
    else:
        places = [folder / SD_FOLDER for folder in weights.search_dirs()]
        found = next((str(one) for one in places if one.joinpath(*inside).is_file()), "")
    get = (
        "give a folder in diffusers' layout, or the hub id of one that you trust: "
        "--set external.stable_diffusion=…"
    )
    title = "Stable Diffusion 2.1-base"
    return Need("stable_diffusion", title, given, found, SD_FOLDER, get)


def _folder_or_hub_id(given: str, inside: str) -> str:
    folder = Path(given).expanduser()
    if given and (folder / inside).is_file():
        return str(folder)
    # OWNER/NAME that is no folder here.
    hub_id = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", given) and not folder.exists()
    return given if hub_id else ""
