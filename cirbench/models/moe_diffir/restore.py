"""Restoring images of any size, one at a time, in overlapping tiles.

At each sampling step the UNet sees every tile, and its answers are blended before the solver goes
on with the whole latent: tiles share one noise and one history, so they agree where they overlap.
The decoder's tiles are blended in pixels. Images are treated one by one, so that a result does not
depend on its batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .config import SamplerConfig
from .model import Condition, MoEDiffIR
from .router import load
from .sampler import sample
from .tiles import Plan

TILE_BATCH = 8
"""Tiles that go through the network together."""


@torch.inference_mode()
def restore(
    model: MoEDiffIR,
    lq: Tensor,
    *,
    seeds: Sequence[int],
    sampler: SamplerConfig | None = None,
    tile: int | None = None,
    weight: float | None = None,
) -> Tensor:
    """Restore a batch of images; the model is put into evaluation mode.

    Args:
        model: the model.
        lq: float32 (B, 3, H, W) in [0, 1], any size.
        seeds: one per image.
        sampler: instead of the model's own.
        tile: side of a tile in pixels instead of the model's own.
        weight: of the compensator, instead of the model's own.

    Returns:
        float32 (B, 3, H, W) in [0, 1] on the CPU.

    Raises ValueError when there is not one seed per image.
    """
    if len(seeds) != len(lq):
        raise ValueError(f"{len(seeds)} seeds for {len(lq)} images")
    model.eval()
    made = [
        _one(model, image[None], seed, sampler or model.config.sampler, tile, weight)
        for image, seed in zip(lq, seeds, strict=True)
    ]
    return torch.cat(made) if made else lq.clone()


@torch.inference_mode()
def compensated(model: MoEDiffIR, lq: Tensor) -> Tensor:
    """What stage II's decoder alone makes of LQ images: their own latents, nothing sampled.

    The baseline that tells what diffusion adds. Shapes and ranges as in :func:`restore`.
    """
    model.eval()
    made = []
    for image in lq:
        padded, plan = _prepared(model, image[None], None)
        pieces = torch.split(plan.cut(padded, plan.factor), TILE_BATCH)
        whole = plan.blend(
            (model.compensate(model.encode(piece), piece) for piece in pieces), plan.factor
        )
        made.append(whole[..., : lq.shape[2], : lq.shape[3]].clamp(0, 1).float().cpu())
    return torch.cat(made) if made else lq.clone()


@torch.inference_mode()
def loads(model: MoEDiffIR, lq: Tensor) -> list[Tensor]:
    """For the router report: share of tokens that chose each prompt, (B, N) for each scale.

    Nothing is sampled and nothing is changed. Empty for prompts without a router.
    """
    model.eval()
    found = []
    for image in lq:
        padded, plan = _prepared(model, image[None], None)
        batches = _conditions(model, plan.cut(padded, plan.factor))
        scales = zip(*(one.routings for one in batches), strict=True)
        found.append([torch.cat([load(one) for one in scale]).mean(0) for scale in scales])
    return [torch.stack(scale).cpu() for scale in zip(*found, strict=True)]


def _one(
    model: MoEDiffIR,
    lq: Tensor,
    seed: int,
    sampler: SamplerConfig,
    tile: int | None,
    weight: float | None,
) -> Tensor:
    padded, plan = _prepared(model, lq, tile)
    tiles = plan.cut(padded, plan.factor)
    conditions = _conditions(model, tiles)

    def predict(noisy: Tensor, t: Tensor) -> Tensor:
        pieces = torch.split(plan.cut(noisy), TILE_BATCH)
        return plan.blend(
            model.predict(piece, t.expand(len(piece)), condition)
            for piece, condition in zip(pieces, conditions, strict=True)
        )

    latents = sample(
        predict,
        (int(model.vae.config.latent_channels), plan.height, plan.width),
        [seed],
        sampler,
        model.config.schedule,
        padded.device,
    )
    pairs = zip(
        torch.split(plan.cut(latents), TILE_BATCH), torch.split(tiles, TILE_BATCH), strict=True
    )
    image = plan.blend((model.compensate(one, lq, weight) for one, lq in pairs), plan.factor)
    return image[..., : lq.shape[2], : lq.shape[3]].clamp(0, 1).float().cpu()


def _prepared(model: MoEDiffIR, lq: Tensor, tile: int | None) -> tuple[Tensor, Plan]:
    """The padded image on the model's device, and its tiles."""
    multiple, factor = model.multiple, model.factor
    side = model.config.tile if tile is None else tile
    side = -(-side // multiple) * multiple
    padded = _padded(lq, multiple).to(next(model.parameters()).device)
    overlap = min(model.config.overlap, side // 2)
    size = [length // factor for length in padded.shape[2:]]
    return padded, Plan(size[0], size[1], side // factor, overlap // factor, factor)


def _conditions(model: MoEDiffIR, tiles: Tensor) -> list[Condition]:
    return [model.condition(batch) for batch in torch.split(tiles, TILE_BATCH)]


def _padded(image: Tensor, multiple: int) -> Tensor:
    """Sides up to multiples: by reflection, or edge replication where that is too little."""
    grow = [-side % multiple for side in image.shape[2:]]
    fits = all(more < side for more, side in zip(grow, image.shape[2:], strict=True))
    return functional.pad(image, (0, grow[1], 0, grow[0]), mode="reflect" if fits else "replicate")
