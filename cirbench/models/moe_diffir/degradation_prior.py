"""Degradation prior (paper 3.2): tokens that say how an image was damaged.

Each encoder is a module with ``forward(lq) -> (B, tokens, width)`` and the attribute ``width``. It
sees the image only: never task, codec or level.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import PriorConfig
from .visual import clip_input, open_clip


class TinyPrior(nn.Module):
    """A small convolutional encoder whose heads name codec and level; stage 0 trains it.

    Coding artefacts are small and in place, so it works on pixels at full size and averages late.

    Args:
        config: ``width`` of its tokens, ``codecs`` and ``levels`` for the heads; ``args`` may hold
            ``channels``, the width of the first layer.
    """

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.width = config.width
        first = int(config.args.get("channels", 16))
        widths = [3 * 16, first * 2, first * 4, config.width]
        layers: list[nn.Module] = [nn.PixelUnshuffle(4)]
        for index, (before, after) in enumerate(pairwise(widths)):
            stride = 1 if index == 0 else 2
            layers += [
                nn.Conv2d(before, after, 3, stride=stride, padding=1),
                nn.GroupNorm(8, after),
                nn.SiLU(),
            ]
        self.layers = nn.Sequential(*layers)
        self.codec = nn.Linear(config.width, config.codecs)
        self.level = nn.Linear(config.width, config.levels)

    def forward(self, lq: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], H and W multiples of 4, to 2x2 + 1 tokens (B, 5, width).

        The first token is the mean of the image, the others those of its quarters.
        """
        found = self.layers(lq * 2 - 1)
        parts = functional.adaptive_avg_pool2d(found, 2).flatten(2)
        return torch.cat([found.mean((2, 3))[..., None], parts], 2).transpose(1, 2)

    def labels(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of codec (B, codecs) and level (B, levels) from :meth:`forward`'s tokens."""
        return self.codec(tokens[:, 0]), self.level(tokens[:, 0])


class DaClip(nn.Module):
    """The image controller of DA-CLIP (Luo et al. 2024): a ViT trained to name degradations.

    Its 7x7 patch tokens of width 768 (ViT-B/32) after the final norm. The release reads the same
    tower, with class token and position embeddings left out; here it runs as it was trained.

    Args:
        image_size, patch_size, width, layers, heads: of the ViT.

    Raises UnavailableError when open_clip is not installed.
    """

    def __init__(
        self, image_size: int, patch_size: int, width: int, layers: int, heads: int
    ) -> None:
        super().__init__()
        network: Any = open_clip("transformer").VisionTransformer(
            image_size, patch_size, width, layers, heads, mlp_ratio=4.0, output_tokens=True
        )
        network.proj = None  # tokens are read before the projection to the joint space
        self.network = network
        self.image_size, self.width = image_size, width

    def forward(self, lq: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to tokens (B, (image_size / patch_size)^2, width)."""
        tokens: Tensor = self.network(clip_input(lq, self.image_size))[1]
        return tokens


def build(config: PriorConfig) -> Any:
    """The encoder that ``config`` describes, with random weights."""
    return TinyPrior(config) if config.kind == "tiny" else DaClip(**config.args)
