"""MoE-DiffIR, assembled (paper Fig. 3). It is blind: no task, codec or level goes in anywhere.

Images are float (B, 3, H, W), RGB in [0, 1], H and W multiples of :attr:`MoEDiffIR.multiple`;
latents are (B, C, H / f, W / f), scaled to about unit variance. :mod:`.restore` takes any size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...codecs.torch_compat import import_torchvision
from .config import ModelConfig

import_torchvision()  # diffusers imports it; see there

from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: E402

from . import degradation_prior, visual  # noqa: E402
from .compensator import Compensator  # noqa: E402
from .enhancer import Enhancer  # noqa: E402
from .prompt_module import PromptModule  # noqa: E402
from .router import Routing, balance_loss  # noqa: E402
from .sampler import sample  # noqa: E402
from .spade import SpadeInjection  # noqa: E402
from .visual_to_text import VisualToText  # noqa: E402


class Condition(NamedTuple):
    """What an LQ image tells the UNet; the same for all sampling steps.

    Attributes:
        features: prompt features (B, D, h / 2^s, w / 2^s), one per level of the UNet.
        context: (B, L, width) for its cross-attention.
        routings: what the router of each scale decided; empty for prompts without one.
    """

    features: list[Tensor]
    context: Tensor
    routings: list[Routing]


class NullContext(nn.Module):
    """The UNet's context when nothing describes the image: Stable Diffusion's empty prompt."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.zeros(tokens, width))

    def forward(self, batch: int) -> Tensor:
        """(batch, tokens, width)."""
        return self.tokens.expand(batch, -1, -1)


class MoEDiffIR(nn.Module):
    """The whole model with random weights, in the parts that :mod:`.parts` names.

    Raises CirbenchError for numbers that do not fit each other, UnavailableError when a package
    is missing.
    """

    trained_parts: tuple[str, ...] = ()
    random_weights = False
    """Weights that should have been brought are random: good for measuring cost only."""
    latent_scale: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.vae: Any = AutoencoderKL(**config.vae)
        self.unet: Any = UNet2DConditionModel(**config.unet)
        channels = int(self.vae.config.latent_channels)
        levels = len(self.unet.config.block_out_channels)
        width = int(self.unet.config.cross_attention_dim)
        self.null_context = NullContext(config.null_tokens, width)
        self.prior = degradation_prior.build(config.prior) if config.degradation_prior else None
        self.prompt_module = PromptModule(
            config, channels, levels, self.prior.width if self.prior is not None else None
        )
        size = config.prompt_size
        self.spade = SpadeInjection(self.unet, size.dim, size.spade_hidden)
        self.visual, self.enhancer, self.v2t = None, None, None
        if config.v2t:
            self.visual = visual.build(config.visual, channels)
            self.enhancer = Enhancer(channels, config.enhancer)
            self.v2t = VisualToText(
                self.visual.channels, self.visual.side, width, config.v2t_hidden
            )
        self.compensator = Compensator(self.vae, config.compensator)
        # A buffer and not a setting: stage 0 measures it for the VAE that it trains.
        self.register_buffer("latent_scale", torch.tensor(float(self.vae.config.scaling_factor)))
        self.factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.multiple = self.factor * 2 ** (levels - 1)

    def __deepcopy__(self, memo: dict[int, Any]) -> MoEDiffIR:
        # A plain copy's hooks would lead into the original's SPADE and compensator.
        made = MoEDiffIR(self.config).to(next(self.parameters()).device)
        made.load_state_dict(self.state_dict())
        for ours, theirs in zip(made.parameters(), self.parameters(), strict=True):
            ours.data = ours.data.to(theirs.dtype)
            ours.requires_grad_(theirs.requires_grad)
        made.trained_parts = self.trained_parts
        return made.train(self.training)

    def train(self, mode: bool = True) -> MoEDiffIR:
        """Training mode for the parts that :func:`.parts.set_stage` chose, evaluation for others.

        A model that no stage was chosen for is never in training mode: its router adds no noise.
        """
        super().train(mode)
        for name, part in self.named_children():
            if name not in self.trained_parts:
                part.eval()
        return self

    def encode(self, image: Tensor) -> Tensor:
        """Image to latents: the mode of the VAE's distribution, so nothing is random."""
        found: Tensor = self.vae.encode(image * 2 - 1).latent_dist.mode()
        return found * self.latent_scale

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to an image by the plain decoder; about [0, 1], not clipped."""
        image: Tensor = self.vae.decode(latents / self.latent_scale).sample
        return image / 2 + 0.5

    def compensate(self, latents: Tensor, lq: Tensor, weight: float | None = None) -> Tensor:
        """Latents to an image with the LQ image's features (paper 3.4); not clipped."""
        image: Tensor = self.compensator(latents / self.latent_scale, lq * 2 - 1, weight)
        return image / 2 + 0.5

    def describe(self, latents: Tensor) -> Tensor:
        """Context tokens (B, L, width) that say what latents show (paper 3.3, without enhancer).

        Stage 0 describes HQ latents with it. Without V2T: the null context.
        """
        if self.visual is None or self.v2t is None:
            return self.null_context(len(latents))  # type: ignore[no-any-return]
        view = self.decode(latents) if self.visual.pixels else latents
        return self.v2t(self.visual(view))  # type: ignore[no-any-return]

    def condition(self, lq: Tensor, latents: Tensor | None = None) -> Condition:
        """Everything the UNet is told about an LQ image.

        Args:
            lq: (B, 3, H, W) in [0, 1].
            latents: :meth:`encode` of it, when already known.
        """
        if latents is None:
            with torch.no_grad():
                latents = self.encode(lq)
        prior = None
        if self.prior is not None:
            with torch.no_grad():
                prior = self.prior(lq)
        features, routings = self.prompt_module(latents, prior)
        enhanced = latents if self.enhancer is None else self.enhancer(latents)
        return Condition(features, self.describe(enhanced), routings)

    def predict(self, noisy: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        """The UNet's answer (B, C, h, w) to noisy latents at time t (B,).

        Without a condition: no prompts and the null context (stage 0).
        """
        self.spade.use(() if condition is None else condition.features)
        context = self.null_context(len(noisy)) if condition is None else condition.context
        answer: Tensor = self.unet(noisy, t, encoder_hidden_states=context).sample
        if not torch.is_grad_enabled():
            self.spade.use(())
        return answer

    def balance_loss(self, condition: Condition) -> Tensor:
        """Load-balance loss times its weight, mean of the scales; 0 when it is switched off."""
        if not condition.routings or not self.config.balance_weight:
            return condition.context.new_zeros(())
        losses = torch.stack([balance_loss(one) for one in condition.routings])
        return self.config.balance_weight * losses.mean()

    @torch.no_grad()
    def sample(self, condition: Condition, shape: tuple[int, int], seeds: list[int]) -> Tensor:
        """Restored latents (B, C, h, w) of a batch that fits one tile; ``shape`` is (h, w).

        Stage II's latents are made with it.
        """
        return sample(
            lambda noisy, t: self.predict(noisy, t, condition),
            (int(self.vae.config.latent_channels), *shape),
            seeds,
            self.config.sampler,
            self.config.schedule,
            condition.context.device,
        )
