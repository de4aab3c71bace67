"""The networks as they are trained: what rounding and the rate are then, and what is shipped.

They are the codecs' own (CompressAI's Cheng2020, `cirbench.codecs.hific_model`); the discriminator
is HiFiC's and is not shipped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mini_plan import Plan
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from cirbench.codecs import hific_model
from cirbench.codecs.torch_compat import import_torchvision

import_torchvision()  # before compressai imports it
from compressai.models import Cheng2020Attention  # noqa: E402
from compressai.ops import LowerBound  # noqa: E402

Coded = tuple[Tensor, Tensor, Tensor]
"""Decoded crops (float32, (B, 3, H, W)), bits per pixel (a scalar), quantised latents."""


def _rounded(x: Tensor) -> Tensor:
    """Nearest integers, with the gradient of the identity."""
    return x + (x.round() - x).detach()


def _noisy(x: Tensor) -> Tensor:
    """What stands for rounding in the rate: uniform noise, whose density has a gradient."""
    return x + torch.rand_like(x) - 0.5


def _bits(*likelihoods: Tensor) -> Tensor:
    total = torch.stack([one.clamp_min(1e-9).log2().sum() for one in likelihoods])
    return -total.sum()


class Cheng(nn.Module):
    """Cheng2020 with attention, trained on what its bitstream will say.

    The context model is run twice: once on rounded latents to predict the means, once on latents
    rounded around those means, which is what the decoder will have. CompressAI's own training
    shows it noise instead.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.net = Cheng2020Attention(plan.channels)

    def forward(self, x: Tensor, fast: Callable[..., Tensor]) -> Coded:
        """``fast(module, input)`` runs a network in the arithmetic of the training."""
        net = self.net
        y = fast(net.g_a, x)
        z = fast(net.h_a, y)
        # Its own forward() would round around a median; the tables written at the end have none.
        z_likelihood = net.entropy_bottleneck(z)[1]
        params = fast(net.h_s, _rounded(z))

        def statistics(y_hat: Tensor) -> tuple[Tensor, Tensor]:
            context = fast(net.context_prediction, y_hat)
            both = fast(net.entropy_parameters, torch.cat((params, context), 1))
            scales, means = both.chunk(2, 1)
            return scales, means

        means = statistics(_rounded(y))[1]
        y_hat = _rounded(y - means) + means
        scales, means = statistics(y_hat)
        y_likelihood = net.gaussian_conditional._likelihood  # scales are clamped in it
        bits = _bits(y_likelihood(_noisy(y), scales, means), z_likelihood)
        return fast(net.g_s, y_hat), bits / (x.shape[0] * x.shape[2] * x.shape[3]), y_hat

    def weights(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """What is shipped: half-precision parameters and the integer tables made from them."""
        final = Cheng2020Attention(self.net.N)
        with torch.no_grad():
            for ours, trained in zip(final.parameters(), self.net.parameters(), strict=True):
                ours.copy_(trained.half())
        _set_quantiles(final.entropy_bottleneck)
        final.update()
        state = final.state_dict()
        # The loader makes the mask, and the Gaussians' tables: they are the same for all models.
        made = ("prediction.mask", "conditional._", "conditional.scale_table")
        state = {k: v for k, v in state.items() if not any(part in k for part in made)}
        return {k: v.half() if v.is_floating_point() else v.int() for k, v in state.items()}, {}


@torch.no_grad()
def _set_quantiles(bottleneck: Any, tail: float = 1e-5) -> None:
    """Where each hyper-latent's table starts and ends, by bisection on its learned density.

    The middle is a whole number, because the training rounded to whole numbers.
    """
    low = torch.full_like(bottleneck.quantiles, -1024.0)
    high = -low
    wanted = torch.tensor([tail / 2, 0.5, 1 - tail / 2]).logit()
    for _ in range(40):
        middle = (low + high) / 2
        below = bottleneck._logits_cumulative(middle, stop_gradient=True) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    high[:, :, 1] = high[:, :, 1].round()
    high[:, :, 0] = torch.minimum(high[:, :, 0], high[:, :, 1] - 1).floor()
    high[:, :, 2] = torch.maximum(high[:, :, 2], high[:, :, 1] + 1).ceil()
    bottleneck.quantiles.copy_(high)


class HiFiC(nn.Module):
    """HiFiC's encoder, hyperprior and generator."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        sizes = {k: tuple(v) if isinstance(v, list) else v for k, v in plan.hific.items()}
        self.net = hific_model.HiFiC(hific_model.Config(**sizes))
        self.floor = LowerBound(hific_model.MIN_SCALE)

    def forward(self, x: Tensor, fast: Callable[..., Tensor]) -> Coded:
        """As :meth:`Cheng.forward`."""
        net, prior = self.net, self.net.Hyperprior
        y = fast(net.Encoder, x * 2 - 1 if net.config.signed else x)
        z = fast(prior.analysis_net, y)
        z_hat = _rounded(z)
        means = fast(prior.synthesis_mu, z_hat)
        scales = self.floor(fast(prior.synthesis_std, z_hat))
        distance = (_noisy(y) - means).abs()
        # Both in the left tail, where differences of small numbers stay exact.
        inner, outer = (0.5 - distance) / scales, (-0.5 - distance) / scales
        y_likelihood = torch.special.ndtr(inner) - torch.special.ndtr(outer)
        bits = _bits(y_likelihood, self._density(_noisy(z)))
        y_hat = _rounded(y - means) + means
        image = fast(net.Generator, y_hat)
        if net.config.signed:
            image = (image.tanh() + 1) / 2
        return image, bits / (x.shape[0] * x.shape[2] * x.shape[3]), y_hat

    def _density(self, z: Tensor) -> Tensor:
        flat = z.transpose(0, 1).flatten(1)[:, None]
        logits = self.net.Hyperprior.hyperlatent_likelihood.logits
        upper, lower = logits(flat + 0.5), logits(flat - 0.5)
        sign = -(upper + lower).sign().detach()
        return (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()

    def weights(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """What is shipped: half-precision parameters, and the public ``args`` as metadata."""
        config = self.net.config
        args = {
            "latent_channels": config.latent,
            "n_residual_blocks": config.blocks,
            "normalize_input_image": config.signed,
            "likelihood_type": config.likelihood,
        }
        state = {key: value.half().contiguous() for key, value in self.net.state_dict().items()}
        return state, {"args": json.dumps(args)}


class Discriminator(nn.Module):
    """HiFiC's: patches of an image, given its latents; spectral norm (its appendix A, figure 11),
    with fewer channels."""

    def __init__(self, latent: int, widths: Sequence[int] = (24, 48, 96, 96)) -> None:
        super().__init__()
        self.given = spectral_norm(nn.Conv2d(latent, 12, 3, padding=1))
        before = [15, *widths[:-1]]
        pairs = zip(before, widths, strict=True)
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 4, 2, padding=1)) for a, b in pairs
        )
        self.last = spectral_norm(nn.Conv2d(widths[-1], 1, 1))

    def forward(self, both: Tensor) -> Tensor:
        """Logits, from an image (3 channels) and its upsampled latents (12 channels)."""
        for layer in self.layers:
            both = functional.leaky_relu(layer(both), 0.2)
        return self.last(both)  # type: ignore[no-any-return]

    def judge(self, image: Tensor, latents: Tensor, fast: Callable[..., Tensor]) -> Tensor:
        """Logits per patch that ``image`` is an original."""
        given = functional.leaky_relu(fast(self.given, latents.detach()), 0.2)
        given = functional.interpolate(given, size=image.shape[2:])
        return fast(self, torch.cat((image * 2 - 1, given), 1))
