"""Forward and reverse diffusion (paper eq. 2, 4.1) with diffusers' schedulers.

Noise comes from one CPU generator per image, so an image's result depends on its seed alone:
neither on the batch, nor on the device that runs the network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .config import SamplerConfig, ScheduleConfig

Predict = Callable[[Tensor, Tensor], Tensor]
"""``predict(x_t (B, C, h, w), t (B,)) -> (B, C, h, w)``: what the UNet makes of noisy latents."""


def forward_process(config: ScheduleConfig) -> Any:
    """The diffusers ``DDPMScheduler`` of training: ``add_noise`` and its betas."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(**dataclasses.asdict(config), clip_sample=False)


def training_pair(process: Any, latents: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Noisy latents and what the UNet should say to them (eq. 2 for ``epsilon``).

    Args:
        process: from :func:`forward_process`.
        latents, noise: (B, C, h, w); HQ latents and N(0, 1).
        t: (B,) int64, 0 to num_train_timesteps - 1.

    Returns:
        x_t and the target, both (B, C, h, w).
    """
    noisy = process.add_noise(latents, noise, t)
    kind = process.config.prediction_type
    if kind == "v_prediction":
        return noisy, process.get_velocity(latents, noise, t)
    return noisy, noise if kind == "epsilon" else latents


def solver(config: SamplerConfig, schedule: ScheduleConfig) -> Any:
    """The diffusers scheduler of ``config``, its timesteps set.

    The first step is always the last training step, where x_t is (nearly) pure noise: started
    earlier, as some defaults do, sampling from pure noise gets the wrong brightness (Lin et al.
    2024).
    """
    import diffusers

    values = dataclasses.asdict(schedule)
    if config.kind == "ddpm":
        # The release respaces like IDDPM: from the first to the last training step.
        spacing = "linspace" if config.steps > 1 else "trailing"
        made: Any = diffusers.DDPMScheduler(**values, clip_sample=False, timestep_spacing=spacing)
    elif config.kind == "ddim":
        made = diffusers.DDIMScheduler(
            **values, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing"
        )
    elif config.kind == "unipc":
        made = diffusers.UniPCMultistepScheduler(
            **values, timestep_spacing="trailing", solver_order=2
        )
    else:
        made = diffusers.DPMSolverMultistepScheduler(
            **values, timestep_spacing="trailing", algorithm_type="dpmsolver++"
        )
    made.set_timesteps(config.steps)
    return made


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator per seed."""
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def pure_noise(shape: Sequence[int], sources: Sequence[torch.Generator]) -> Tensor:
    """N(0, 1) of ``shape`` (C, h, w) for each generator: (B, C, h, w), on the CPU."""
    return torch.stack([torch.randn(*shape, generator=source) for source in sources])


def sample(
    predict: Predict,
    shape: Sequence[int],
    seeds: Sequence[int],
    config: SamplerConfig,
    schedule: ScheduleConfig,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Latents from pure noise.

    Args:
        predict: the UNet with its conditions.
        shape: (C, h, w).
        seeds: one per image.
        config, schedule: solver and diffusion.
        device: where ``predict`` works.

    Returns:
        float32 (B, C, h, w) on ``device``.
    """
    steps = solver(config, schedule)
    sources = generators(seeds)
    latents = pure_noise(shape, sources).to(device) * float(steps.init_noise_sigma)
    for t in steps.timesteps:
        given = steps.scale_model_input(latents, t)
        said = predict(given, t.to(device).expand(len(latents))).float()
        # DDPM draws noise at every step; the others are deterministic (DDIM with eta = 0).
        extra = {"generator": sources} if config.kind == "ddpm" else {}
        latents = steps.step(said, t, latents, **extra).prev_sample
    return latents
