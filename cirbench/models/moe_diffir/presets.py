"""The sizes a model comes in: ``paper`` (around Stable Diffusion 2.1-base), ``tiny``, ``micro``."""

from __future__ import annotations

from typing import Any

from ...errors import CirbenchError
from ...suggest import hint
from .config import (
    CompensatorSize,
    EnhancerSize,
    ModelConfig,
    PriorConfig,
    PromptSize,
    SamplerConfig,
    ScheduleConfig,
    VisualConfig,
)

NAMES = ("tiny", "paper", "micro")


def preset(name: str) -> ModelConfig:
    """The model called ``name``. Raises CirbenchError for an unknown name."""
    if name not in NAMES:
        raise CirbenchError(f"there is no model size {name!r}; {hint(name, NAMES)}")
    return {"tiny": tiny, "paper": paper, "micro": micro}[name]()


def paper() -> ModelConfig:
    """The paper's sizes: SD 2.1-base, DA-CLIP ViT-B/32, CLIP RN50, 256x256, DDPM with 200 steps."""
    unet: dict[str, Any] = {
        "sample_size": 64,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": [320, 640, 1280, 1280],
        "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
        "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
        "layers_per_block": 2,
        "attention_head_dim": [5, 10, 20, 20],
        "cross_attention_dim": 1024,
        "use_linear_projection": True,
    }
    vae: dict[str, Any] = {
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
        "sample_size": 768,
        "scaling_factor": 0.18215,
    }
    daclip = {"image_size": 224, "patch_size": 32, "width": 768, "layers": 12, "heads": 12}
    resnet = {"image_size": 224, "layers": [3, 4, 6, 3], "width": 64}
    return ModelConfig(
        unet=unet,
        vae=vae,
        prior=PriorConfig(args=daclip),
        visual=VisualConfig(args=resnet),
    )


def tiny() -> ModelConfig:
    """Everything small, for two CPU cores: 128x128, an f=8 VAE with 16 channels, 4 steps.

    Without the load-balance loss its router kept to three prompts (docs/small.md).
    """
    unet: dict[str, Any] = {
        "sample_size": 16,
        "in_channels": 16,
        "out_channels": 16,
        "block_out_channels": [64, 112, 128],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "layers_per_block": 1,
        "attention_head_dim": [2, 4, 4],
        "norm_num_groups": 16,
        "cross_attention_dim": 128,
        "use_linear_projection": True,
    }
    vae: dict[str, Any] = {
        "block_out_channels": [16, 32, 64, 128],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 1,
        "latent_channels": 16,
        "norm_num_groups": 8,
        "mid_block_add_attention": False,
        "sample_size": 128,
        "scaling_factor": 1.0,
    }
    return ModelConfig(
        balance_weight=0.01,
        tile=128,
        overlap=32,
        unet=unet,
        vae=vae,
        null_tokens=16,
        prompt_size=PromptSize(
            dim=96, blocks=1, heads=3, prior_heads=3, prior_head_dim=32, spade_hidden=64
        ),
        enhancer=EnhancerSize(dim=32, blocks=(1, 1), heads=2),
        prior=PriorConfig(kind="tiny", width=128),
        visual=VisualConfig(kind="tiny", width=128),
        v2t_hidden=64,
        compensator=CompensatorSize(levels=(1, 2), blocks=1, growth=8, image=48),
        schedule=ScheduleConfig(prediction_type="v_prediction", rescale_betas_zero_snr=True),
        sampler=SamplerConfig(kind="ddim", steps=4),
    )


def micro() -> ModelConfig:
    """The smallest model that has every part of ``tiny``, for tests: 64x64, an f=4 VAE, 3 steps."""
    unet: dict[str, Any] = {
        "sample_size": 16,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": [16, 32],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "layers_per_block": 1,
        "attention_head_dim": [2, 2],
        "cross_attention_dim": 24,
        "norm_num_groups": 8,
    }
    vae: dict[str, Any] = {
        "block_out_channels": [8, 8, 16],
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
        "layers_per_block": 1,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "mid_block_add_attention": False,
        "sample_size": 64,
        "scaling_factor": 1.0,
    }
    return ModelConfig(
        tile=64,
        overlap=16,
        unet=unet,
        vae=vae,
        null_tokens=16,
        prompt_size=PromptSize(
            dim=16, blocks=1, heads=2, prior_heads=2, prior_head_dim=8, spade_hidden=16
        ),
        enhancer=EnhancerSize(dim=16, blocks=(1, 1), heads=2),
        prior=PriorConfig(kind="tiny", width=16),
        visual=VisualConfig(kind="tiny", width=16),
        v2t_hidden=16,
        compensator=CompensatorSize(levels=(0, 1), blocks=1, growth=8, image=8),
        schedule=ScheduleConfig(prediction_type="v_prediction", rescale_betas_zero_snr=True),
        sampler=SamplerConfig(kind="ddim", steps=3),
    )
