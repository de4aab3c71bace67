"""The MoE-Prompt module (paper 3.2, Fig. 3): from the LQ latent to features at every UNet scale.

At each scale: ViT blocks, cross-attention to the degradation prior, routing, prompts. A stride-2
convolution leads from the features before the prompts to the next scale: gates add up to less than
1, so that prompts one after the other would fade the signal away. The diffusion time does not enter
(release), so one run serves all sampling steps.
"""

from __future__ import annotations

from typing import NamedTuple

from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from .config import ModelConfig
from .prompts import Prompts
from .router import Router, Routing


class Prompted(NamedTuple):
    """Output of the module: features (B, D, h / 2^s, w / 2^s) and the routing of each scale s.

    There is no routing for the prompts ``none`` and ``single``.
    """

    features: list[Tensor]
    routings: list[Routing]


class Scale(nn.Module):
    """One scale: ViT blocks, degradation prior, router and prompts.

    Args:
        config: its ablations and ``prompt_size`` are used.
        prior_width: width of the degradation prior's tokens; None for none.
    """

    def __init__(self, config: ModelConfig, prior_width: int | None) -> None:
        super().__init__()
        size = config.prompt_size
        self.blocks = nn.ModuleList(
            BasicTransformerBlock(
                size.dim,
                size.heads,
                size.dim // size.heads,
                activation_fn="gelu",
                attention_bias=True,
            )
            for _ in range(size.blocks)
        )
        self.norm = nn.LayerNorm(size.dim)
        self.attend = (
            Attention(
                size.dim,
                cross_attention_dim=prior_width,
                heads=size.prior_heads,
                dim_head=size.prior_head_dim,
            )
            if prior_width
            else None
        )
        self.router, self.prompts = None, None
        if config.prompt in ("multiple", "moe"):
            sparse = config.prompt == "moe"
            self.router = Router(
                size.dim,
                config.experts,
                config.top_k if sparse else config.experts,
                per_image=config.routing == "image",
                noisy=sparse,
            )
        if config.prompt != "none":
            self.prompts = Prompts(1 if config.prompt == "single" else config.experts, size.dim)

    def forward(self, image: Tensor, prior: Tensor | None) -> tuple[Tensor, Tensor, Routing | None]:
        """One scale.

        Args:
            image: (B, D, h, w).
            prior: (B, P, W): the degradation prior's tokens.

        Returns:
            Features before the prompts and after them, both (B, D, h, w), and the routing.
        """
        tokens = image.flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        if self.attend is not None:
            tokens = tokens + self.attend(self.norm(tokens), encoder_hidden_states=prior)
        routing = None if self.router is None else self.router(tokens)
        prompted = tokens
        if self.prompts is not None:
            prompted = self.prompts(tokens, None if routing is None else routing.gates)
        before, after = (one.transpose(1, 2).reshape(image.shape) for one in (tokens, prompted))
        return before, after, routing


class PromptModule(nn.Module):
    """All scales.

    Args:
        config: the model.
        latent_channels: channels of the LQ latent.
        scales: how many; one for each level of the UNet.
        prior_width: width of the degradation prior's tokens; None for none.
    """

    def __init__(
        self, config: ModelConfig, latent_channels: int, scales: int, prior_width: int | None
    ) -> None:
        super().__init__()
        dim = config.prompt_size.dim
        self.conv_in = nn.Conv2d(latent_channels, dim, 3, padding=1)
        self.scales = nn.ModuleList(Scale(config, prior_width) for _ in range(scales))
        self.down = nn.ModuleList(
            nn.Conv2d(dim, dim, 3, stride=2, padding=1) for _ in range(scales - 1)
        )

    def forward(self, latents: Tensor, prior: Tensor | None = None) -> Prompted:
        """LQ latents (B, C, h, w), h and w multiples of 2^(scales - 1), and the prior's tokens."""
        features: list[Tensor] = []
        routings: list[Routing] = []
        image = self.conv_in(latents)
        for index, scale in enumerate(self.scales):
            if index:
                image = self.down[index - 1](image)
            image, prompted, routing = scale(image, prior)
            features.append(prompted)
            if routing is not None:
                routings.append(routing)
        return Prompted(features, routings)
