"""Visual-to-text adapter (paper 3.3): image features become the UNet's text tokens.

Release: CLIP's 7x7 map, a 3x3 convolution to the context width, 49 learned tokens that start at
zero added to the 49 positions, and a residual MLP 1024 -> 256 -> 1024.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class VisualToText(nn.Module):
    """The adapter.

    Args:
        channels: of the visual encoder's map.
        side: height and width of that map.
        context: width of the UNet's cross-attention.
        hidden: width inside the MLP.
    """

    def __init__(self, channels: int, side: int, context: int, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, context, 3, padding=1)
        self.positions = nn.Parameter(torch.zeros(side * side, context))
        self.mlp = nn.Sequential(nn.Linear(context, hidden), nn.GELU(), nn.Linear(hidden, context))

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, side, side) to tokens (B, side * side, context)."""
        tokens = self.conv(features).flatten(2).transpose(1, 2) + self.positions
        return tokens + self.mlp(tokens)
