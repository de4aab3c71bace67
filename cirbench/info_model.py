"""What ``cirbench info --model`` prints: weights a model needs from outside, and its parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import suggest, weights
from .errors import CirbenchError, UnavailableError

MODELS = ("moe_diffir",)

_BROUGHT = {
    "stable_diffusion": ("unet", "vae", "null_context"),
    "clip": ("visual",),
    "da_clip": ("prior",),
}
"""The parts that external weights fill."""


def lines(model: str = MODELS[0], preset: str = "paper") -> Iterator[str]:
    """The report, line by line; no weights are read and no memory is taken for the model.

    Args:
        model: one of :data:`MODELS`.
        preset: as for ``cirbench train``.

    Where a package that the model is built with is missing, a line says so instead of the counts.

    Raises CirbenchError for an unknown model or preset.
    """
    if model not in MODELS:
        raise CirbenchError(
            f"nothing is known about a model {model!r}; {suggest.hint(model, MODELS)}"
        )
    from .models.moe_diffir import presets
    from .models.moe_diffir.config import from_dict
    from .train import settings

    chosen = settings.preset(preset)
    config = from_dict(dict(chosen.overrides), presets.preset(chosen.size))
    yield f"{model}, preset {preset}"
    yield ""
    yield from _weights(config, chosen)
    yield ""
    yield from _parts(config)


def _weights(config: Any, chosen: Any) -> Iterator[str]:
    from .models.moe_diffir import locate

    found = [
        (one.name, one.title, one.found, one.file, one.get)
        for one in locate.needs(config, chosen.external)
    ]
    if any(stage.loss.get("lpips") for stage in chosen.stages.values()):
        one = weights.record("vgg16")
        get = f"{one.size}, licence {one.licence}; run: cirbench weights pull {one.name}"
        there = weights.find(one.name)
        found.append(("vgg16", "VGG-16 of the LPIPS loss", str(there or ""), one.file, get))
    if not found:
        yield "weights of others: none; stage 0 makes what the model is built around"
        return
    yield "weights of others"
    for name, title, path, file, get in found:
        yield f"  {name:<16}  {title}: {path or 'missing'}"
        if not path:
            yield f"  {'':<16}    {get}"
            if file:
                yield f"  {'':<16}    looked for as {file}"
    yield "  searched: " + ", ".join(map(str, weights.search_dirs()))


def _parts(config: Any) -> Iterator[str]:
    try:
        import torch

        from .models.moe_diffir import locate, parts
        from .models.moe_diffir.model import MoEDiffIR

        with torch.device("meta"):
            model = MoEDiffIR(config)
    except ImportError as error:
        yield f"parameters: counting needs {error.name}; run: pip install 'cirbench[train]'"
        return
    except UnavailableError as error:
        yield f"parameters: {error}"
        return
    brought = {part: name for name in locate.needed(config) for part in _BROUGHT[name]}
    # What is brought needs no stage 0.
    stages = [stage for stage in parts.STAGES if stage or not brought]
    counted = parts.counts(model)
    width = max(len(one.name) for one in counted)
    yield f"{'part':<{width}}  {'parameters':>13}  trained in stage"
    for one in counted:
        trained = [str(stage) for stage in stages if one.name in parts.trainable(model, stage)]
        how = ", ".join(trained) or f"frozen: {brought.get(one.name, 'as it is')}"
        yield f"{one.name:<{width}}  {one.parameters:>13,}  {how}"
    for stage in stages:
        names = parts.trainable(model, stage)
        total = sum(one.parameters for one in counted if one.name in names)
        yield f"{f'stage {stage}':<{width}}  {total:>13,}  trained"
    yield f"{'all':<{width}}  {sum(one.parameters for one in counted):>13,}"
