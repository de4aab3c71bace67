"""LQ enhancer (paper 3.3): cleans the LQ latent before it is described to the UNet.

Release: a convolution, 2 + 2 transformer blocks in Restormer's style, a convolution, a residual,
all on latents. Attention is over channels (Zamir et al. 2022), so its cost is linear in the number
of positions and any size fits. The last convolution starts at zero: at first nothing changes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import EnhancerSize


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each position of (B, C, h, w)."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        return super().forward(image.movedim(1, -1)).movedim(-1, 1)


class ChannelAttention(nn.Module):
    """Attention between channels instead of positions, with a learned temperature per head."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Sequential(
            nn.Conv2d(dim, 3 * dim, 1, bias=False),
            nn.Conv2d(3 * dim, 3 * dim, 3, padding=1, groups=3 * dim, bias=False),
        )
        self.out = nn.Conv2d(dim, dim, 1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        batch, _, height, width = image.shape
        parts = self.qkv(image).reshape(batch, 3, self.heads, -1, height * width)
        query, key, value = parts.unbind(1)
        query = functional.normalize(query, dim=-1) * self.temperature
        key = functional.normalize(key, dim=-1)
        mixed = functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        return self.out(mixed.reshape(image.shape))


class GatedFeedForward(nn.Module):
    """Two depth-wise branches, one gating the other."""

    def __init__(self, dim: int, growth: float = 2.66) -> None:
        super().__init__()
        hidden = int(dim * growth)
        self.spread = nn.Sequential(
            nn.Conv2d(dim, 2 * hidden, 1, bias=False),
            nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False),
        )
        self.out = nn.Conv2d(hidden, dim, 1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        gate, value = self.spread(image).chunk(2, dim=1)
        return self.out(functional.gelu(gate) * value)


class Block(nn.Module):
    """Channel attention and feed-forward, each with its norm and residual."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(ChannelNorm(dim), ChannelAttention(dim, heads))
        self.feed = nn.Sequential(ChannelNorm(dim), GatedFeedForward(dim))

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        image = image + self.attention(image)
        return image + self.feed(image)


class Enhancer(nn.Module):
    """The enhancer.

    Args:
        channels: of the latents.
        size: see :class:`EnhancerSize`.
    """

    def __init__(self, channels: int, size: EnhancerSize) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, size.dim, 3, padding=1)
        self.first, self.second = (
            nn.Sequential(*(Block(size.dim, size.heads) for _ in range(count)))
            for count in size.blocks
        )
        self.conv_out = nn.Conv2d(size.dim, channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    def forward(self, latents: Tensor) -> Tensor:
        """LQ latents (B, C, h, w) to enhanced ones of the same shape."""
        hidden = self.conv_in(latents)
        hidden = self.first(hidden)
        # A skip around the second group, so that either group can stay idle.
        hidden = hidden + self.second(hidden)
        return latents + self.conv_out(hidden)
