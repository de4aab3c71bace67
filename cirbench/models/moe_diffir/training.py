"""How MoE-DiffIR is trained: the stages, their losses, and what their pictures show."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import CirbenchError
from ...train.trainable import HQ, LATENTS, PAIRS, Stage, Trainable
from . import checkpoint, losses, presets
from .config import ModelConfig, ScheduleConfig, from_dict
from .model import Condition, MoEDiffIR
from .parts import STAGES, counts, table, train_only
from .sampler import forward_process, training_pair

if TYPE_CHECKING:
    from ...train.noise import Noise
    from ...train.settings import StageSettings

Batch = Mapping[str, Tensor]


def vae_loss(
    model: MoEDiffIR, batch: Batch, noise: Noise, settings: StageSettings
) -> dict[str, Tensor]:
    """Stage 0: HQ crops through the VAE and back, from latents drawn of its distribution.

    ``settings.loss`` may hold ``kl``, the weight of the divergence from N(0, 1) per latent value.
    """
    found = model.vae.encode(batch["hq"] * 2 - 1).latent_dist
    mean, deviation = found.mean.float(), found.std.float()
    latents = mean + deviation * noise.normal(*mean.shape[1:])
    made = model.vae.decode(latents).sample.float() / 2 + 0.5
    terms = {name: one for name, one in settings.loss.items() if name != "kl"}
    image = losses.image_loss(made, batch["hq"], terms, model.random_weights)
    kl = 0.5 * (mean.square() + deviation.square() - 1 - 2 * deviation.log()).mean()
    psnr = -10 * (made.detach().clamp(0, 1) - batch["hq"]).square().mean((1, 2, 3)).log10()
    total = image + settings.loss.get("kl", 0.0) * kl
    return {"loss": total, "image": image, "kl": kl, "psnr": psnr.mean()}


def unet_loss(
    model: MoEDiffIR, batch: Batch, noise: Noise, settings: StageSettings
) -> dict[str, Tensor]:
    """Stage 0: eq. (2) on HQ latents, the UNet told what :meth:`MoEDiffIR.describe` sees in them.

    A share ``settings.dropout`` of the samples is told nothing (the null context).
    """
    with torch.no_grad():
        latents = model.encode(batch["hq"]).float()
    context, null = model.describe(latents), model.null_context(len(latents))
    if null.shape != context.shape:
        raise CirbenchError(
            f"the null context has {null.shape[1]} tokens and an image {context.shape[1]}; set "
            f"model.null_tokens={context.shape[1]}"
        )
    context = torch.where(noise.chosen(settings.dropout)[:, None, None], null, context)
    return _diffusion(model, latents, noise, Condition([], context, []))


def prior_loss(
    model: MoEDiffIR, batch: Batch, noise: Noise, settings: StageSettings
) -> dict[str, Tensor]:
    """Stage 0: the degradation-prior encoder names codec and level (cross-entropy).

    Rows of tasks without a number teach nothing.
    """
    assert model.prior is not None
    codec, level = labels(batch["task_id"], model.config)
    says = model.prior.labels(model.prior(batch["lq"]))
    known = (codec >= 0).float()
    total = known.sum().clamp(min=1)
    found = {}
    for name, said, wanted in zip(("codec", "level"), says, (codec, level), strict=True):
        entropy = functional.cross_entropy(said.float(), wanted.clamp(min=0), reduction="none")
        found[name] = (entropy * known).sum() / total
        hits = (said.argmax(1) == wanted).float()
        found[f"{name}_accuracy"] = (hits * known).sum() / total
    return {"loss": found["codec"] + found["level"], **found}


def prompt_loss(
    model: MoEDiffIR, batch: Batch, noise: Noise, settings: StageSettings
) -> dict[str, Tensor]:
    """Stage I: eq. (2) on HQ latents, conditioned on the LQ image; plus the load-balance loss."""
    hq = losses.sharpened(batch["hq"]) if settings.sharpen else batch["hq"]
    with torch.no_grad():
        latents = model.encode(hq).float()
    condition = model.condition(batch["lq"])
    found = _diffusion(model, latents, noise, condition)
    balance = model.balance_loss(condition)
    return {"loss": found["loss"] + balance, "diffusion": found["loss"], "balance": balance}


def compensator_loss(
    model: MoEDiffIR, batch: Batch, noise: Noise, settings: StageSettings
) -> dict[str, Tensor]:
    """Stage II: decoded restored latents against HQ (eq. 4 for ``lpips``).

    In a share ``settings.milder`` of the samples, part of what they lack of HQ is given back to
    the LQ image and to the latents.
    """
    hq, lq, latents = batch["hq"], batch["lq"], batch["latents"]
    if settings.milder:
        back = (noise.chosen(settings.milder) * noise.uniform())[:, None, None, None]
        with torch.no_grad():
            latents = torch.lerp(latents, model.encode(hq).float(), back)
        lq = torch.lerp(lq, hq, back)
    made = model.compensate(latents, lq).float()
    image = losses.image_loss(made, hq, settings.loss, model.random_weights)
    psnr = -10 * (made.detach().clamp(0, 1) - hq).square().mean((1, 2, 3)).log10()
    return {"loss": image, "psnr": psnr.mean()}


def labels(task_id: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor]:
    """(codec, level) numbers of seen tasks, int64 (B,); -1 for others.

    Recipes number their seen tasks codec by codec, each with as many levels.
    """
    levels, count = config.prior.levels, config.prior.codecs * config.prior.levels
    known = (task_id >= 0) & (task_id < count)
    none = torch.full_like(task_id, -1)
    return torch.where(known, task_id // levels, none), torch.where(known, task_id % levels, none)


def _diffusion(
    model: MoEDiffIR, latents: Tensor, noise: Noise, condition: Condition
) -> dict[str, Tensor]:
    process = _process(model.config.schedule)
    t = noise.integers(process.config.num_train_timesteps)
    noisy, target = training_pair(process, latents, noise.normal(*latents.shape[1:]), t)
    answer = model.predict(noisy, t, condition).float()
    return {"loss": functional.mse_loss(answer, target)}


@lru_cache(maxsize=4)
def _process(schedule: ScheduleConfig) -> Any:
    return forward_process(schedule)


def _measure_scale(model: MoEDiffIR, batches: Iterable[Batch]) -> None:
    """Latents of a VAE trained here have any size: bring them to a deviation of 1."""
    with torch.inference_mode():
        latents = torch.cat(
            [model.vae.encode(one["hq"] * 2 - 1).latent_dist.mode() for one in batches]
        )
    model.latent_scale.fill_(float(1 / latents.std()))


def _show_vae(model: MoEDiffIR, batch: Batch) -> dict[str, Tensor]:
    return {"VAE": model.decode(model.encode(batch["hq"]))}


def _show_unet(model: MoEDiffIR, batch: Batch) -> dict[str, Tensor]:
    latents = model.encode(batch["hq"])
    told = Condition([], model.describe(latents), [])
    height, width = latents.shape[2:]
    made = model.sample(told, (height, width), list(range(len(latents))))
    return {"VAE": model.decode(latents), "told HQ": model.decode(made)}


def _show_restored(model: MoEDiffIR, batch: Batch) -> dict[str, Tensor]:
    made = sample(model, batch["lq"], list(range(len(batch["lq"]))))
    return {"decoded": model.decode(made), "compensated": model.compensate(made, batch["lq"])}


def _show_decoded(model: MoEDiffIR, batch: Batch) -> dict[str, Tensor]:
    return {"restored": _show_restored(model, batch)["decoded"]}


def sample(model: MoEDiffIR, lq: Tensor, seeds: list[int]) -> Tensor:
    """Restored latents (B, C, h, w) of LQ crops (B, 3, H, W) in [0, 1]."""
    with torch.no_grad():
        condition = model.condition(lq)
    shape = (lq.shape[2] // model.factor, lq.shape[3] // model.factor)
    return model.sample(condition, shape, seeds)


def build(
    size: str, overrides: Mapping[str, Any], external: Mapping[str, str], random_weights: bool
) -> tuple[MoEDiffIR, dict[str, str]]:
    """The model of a preset, with the weights that it needs from outside.

    Args:
        size: ``tiny``, ``paper`` or ``micro``.
        overrides: see :func:`.config.from_dict`.
        external: where outside weights are: ``stable_diffusion``, ``clip``, ``da_clip``.
        random_weights: leave those random, to measure cost.

    Returns:
        The model and notes for its checkpoints.

    Raises UnavailableError naming all weights that are missing.
    """
    from . import external as weights

    config = from_dict(dict(overrides), presets.preset(size))
    if random_weights:
        model = MoEDiffIR(config)
        model.random_weights = True
        return model, {"random_weights": "yes"}
    found = weights.locate(config, external)
    clash = sorted({key.split(".")[0] for key in overrides} & {"unet", "vae"})
    if clash and "stable_diffusion" in found:
        raise CirbenchError(
            f"model.{clash[0]} is set, but {found['stable_diffusion']} brings its own; leave it out"
        )
    if "stable_diffusion" in found:
        config = weights.stable_diffusion_config(config, found["stable_diffusion"])
    model = MoEDiffIR(config)
    return model, {"external": json.dumps(weights.bring(model, external))} if found else {}


def save(model: MoEDiffIR, folder: Path, notes: Mapping[str, str]) -> None:
    """Write a checkpoint: all parts, or those trained here when others came from outside."""
    own = None
    if "external" in notes or "random_weights" in notes:
        own = [name for name in (*STAGES[1], *STAGES[2]) if hasattr(model, name)]
        own = [name for name in dict.fromkeys(own) if getattr(model, name) is not None]
    checkpoint.save(model, folder, own, notes)


def load(model: MoEDiffIR, path: Path) -> None:
    """Fill the model's parts with those of a checkpoint. Raises CirbenchError if they differ."""
    checkpoint.load_into(model, path)


def problem(stage: Stage, settings: StageSettings) -> str:
    """``""`` when a stage's loss can be computed here, else what is missing."""
    return losses.problem(settings.loss, random=False)


TRAINABLE = Trainable(
    name="moe_diffir",
    stages=(
        Stage(0, "vae", "the VAE, on HQ crops", ("vae",), HQ, vae_loss, _show_vae),
        Stage(
            0,
            "unet",
            "the UNet, on HQ latents, told by image tokens",
            ("unet", "null_context", "visual", "v2t"),
            HQ,
            unet_loss,
            _show_unet,
            _measure_scale,
        ),
        Stage(
            0,
            "prior",
            "the degradation-prior encoder, on codec and level",
            ("prior",),
            PAIRS,
            prior_loss,
        ),
        Stage(
            1,
            "prompt",
            "MoE-Prompt module, SPADE layers, enhancer and V2T adapter",
            STAGES[1],
            PAIRS,
            prompt_loss,
            _show_decoded,
        ),
        Stage(
            2,
            "compensator",
            "the decoder compensator, on restored latents",
            STAGES[2],
            LATENTS,
            compensator_loss,
            _show_restored,
        ),
    ),
    build=build,
    train_only=train_only,
    save=save,
    load=load,
    start_from=checkpoint.start_from,
    counts=lambda model: table(counts(model)),
    sample=sample,
    problem=problem,
)
