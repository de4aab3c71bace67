"""Tiny random HiFiC models, saved the way the public training script saves its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cirbench import weights
from cirbench.codecs import hific_model

LOW = hific_model.Config((4, 4, 6, 6, 8), (10, 8, 6, 6, 4), 6, 5, blocks=2, signed=True)
MED = replace(LOW, blocks=1, signed=False, likelihood="logistic")
HIGH = replace(LOW, latent=7, channel_norm=False)


def model_of(config: hific_model.Config) -> hific_model.HiFiC:
    """Random weights with lively latents and every scale in use."""
    torch.manual_seed(7)
    model = hific_model.HiFiC(config)
    with torch.no_grad():
        for name, values in model.named_parameters():
            if values.dim() == 4 and values.shape[-1] > 1:
                values.mul_(16 if name.startswith("Encoder.conv_block_out") else 4)
            elif name.endswith(("gamma", "beta")) or ".a_" in name:
                values.add_(0.3 * torch.randn_like(values))
            elif name == "Hyperprior.synthesis_std.conv3.bias":
                values.add_(1)
    return model.eval().requires_grad_(False)


def args_of(config: hific_model.Config) -> dict[str, Any]:
    return {
        "latent_channels": config.latent,
        "n_residual_blocks": config.blocks,
        "use_channel_norm": config.channel_norm,
        "normalize_input_image": config.signed,
        "likelihood_type": config.likelihood,
        "image_dims": (3, 256, 256),
        "lambda_schedule": {"vals": [2.0, 1.0], "steps": [50000]},
    }


def save(path: Path, config: hific_model.Config, **changes: Any) -> None:
    """The public format: arguments, the model, and what training needs besides."""
    model = model_of(config)
    state = model.state_dict() | {"Discriminator.context_conv.weight": torch.zeros(3, 2, 3, 3)}
    optimiser = torch.optim.Adam(model.parameters()).state_dict()
    whole = {"args": args_of(config), "model_state_dict": state, "epoch": 8, "steps": 10}
    torch.save(whole | {"compression_optimizer_state_dict": optimiser} | changes, path)


def save_all(folder: Path) -> Path:
    """All three levels, under their published files' names."""
    for level, config in {"low": LOW, "med": MED, "high": HIGH}.items():
        save(folder / weights.record(f"hific-{level}").file, config)
    return folder
