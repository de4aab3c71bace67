"""HiFiC's networks (Mentzer et al. 2020, "High-Fidelity Generative Image Compression").

Encoder, generator and mean-and-scale hyperprior. Attribute names are the keys of the public PyTorch
checkpoints, so a state dict fits as it is; :mod:`.hific_load` reads those files. Sizes are free:
the published models and our mini ones differ in :class:`Config` only.

Images are float32 (B, 3, H, W) in [0, 1]; latents are (B, C, H/16, W/16). Everything runs fastest
in torch's channels-last memory format.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

HYPER_STRIDE = 4
MIN_SCALE = 0.11
"""Smallest scale of a latent's distribution; what the hyper-decoder says below it counts as it."""

DENSITY_FILTERS = (1, 3, 3, 3, 1)


@dataclass(frozen=True)
class Config:
    """Sizes and choices of one model.

    Attributes:
        encoder: channels after each of the encoder's five convolutions (strides 1, 2, 2, 2, 2).
        generator: channels of the residual blocks and after each of the four upsamplings.
        latent, hyper: channels of the latents y and the hyper-latents z.
        blocks: residual blocks.
        channel_norm: normalise over channels (the paper) or per channel over the picture.
        signed: pixels go in and out as [-1, 1], through a tanh (public flag ``-norm``), instead of
            [0, 1] (low and high were trained with it, med was not).
        likelihood: distribution of a latent, ``"gaussian"`` or ``"logistic"`` (med).
    """

    encoder: tuple[int, ...] = (60, 120, 240, 480, 960)
    generator: tuple[int, ...] = (960, 480, 240, 120, 60)
    latent: int = 220
    hyper: int = 320
    blocks: int = 9
    channel_norm: bool = True
    signed: bool = False
    likelihood: str = "gaussian"


class ChannelNorm(nn.Module):
    """Zero mean and unit variance over the channels of each position, then gain and offset.

    The published variance is the unbiased one plus 1e-3. torch's layer norm takes the biased one,
    in a single pass over channels-last data, so the factor between them goes into gain and epsilon.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as ``x``, (B, C, H, W)."""
        channels = x.shape[1]
        biased = (channels - 1) / channels
        gain = self.gamma.flatten() * math.sqrt(biased)
        last = functional.layer_norm(
            x.permute(0, 2, 3, 1), (channels,), gain, self.beta.flatten(), 1e-3 * biased
        )
        return last.permute(0, 3, 1, 2)


def _norm(channels: int, config: Config) -> nn.Module:
    if config.channel_norm:
        return ChannelNorm(channels)
    return nn.InstanceNorm2d(channels, affine=True)


class Encoder(nn.Module):
    """Image to latents y at 1/16 of its size."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        widths = (3, *config.encoder)
        for number, (before, after) in enumerate(pairwise(widths), start=1):
            # A stride-2 convolution sees one extra row above and one extra column to the right.
            pad, size, stride = (3, 7, 1) if number == 1 else ((0, 1, 1, 0), 3, 2)
            block = nn.Sequential(
                nn.ReflectionPad2d(pad),
                nn.Conv2d(before, after, size, stride),
                _norm(after, config),
                nn.ReLU(inplace=True),
            )
            self.add_module(f"conv_block{number}", block)
        last = nn.Conv2d(widths[-1], config.latent, 3)
        self.add_module("conv_block_out", nn.Sequential(nn.ReflectionPad2d(1), last))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, latent, H/16, W/16)."""
        for block in self.children():
            x = block(x)
        return x


class ResidualBlock(nn.Module):
    """Two reflect-padded 3x3 convolutions with norms, added to the input."""

    def __init__(self, channels: int, config: Config) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3)
        self.conv2 = nn.Conv2d(channels, channels, 3)
        self.norm1 = _norm(channels, config)
        self.norm2 = _norm(channels, config)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as ``x``."""
        inner = self.norm1(self.conv1(_reflect(x))).relu_()
        return x + self.norm2(self.conv2(_reflect(inner)))  # type: ignore[no-any-return]


def _reflect(x: Tensor) -> Tensor:
    return functional.pad(x, (1, 1, 1, 1), mode="reflect")


class Generator(nn.Module):
    """Quantised latents to an image at 16 times their size (not yet limited to a range)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.generator[0]
        self.conv_block_init = nn.Sequential(
            _norm(config.latent, config),
            nn.ReflectionPad2d(1),
            nn.Conv2d(config.latent, width, 3),
            _norm(width, config),
        )
        self.residual = [f"resblock_{number}" for number in range(config.blocks)]
        for name in self.residual:
            self.add_module(name, ResidualBlock(width, config))
        self.upsampling = [f"upconv_block{number}" for number in range(1, len(config.generator))]
        for name, (before, after) in zip(self.upsampling, pairwise(config.generator), strict=True):
            block = nn.Sequential(
                nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1),
                _norm(after, config),
                nn.ReLU(inplace=True),
            )
            self.add_module(name, block)
        last = nn.Conv2d(config.generator[-1], 3, 7)
        self.conv_block_out = nn.Sequential(nn.ReflectionPad2d(3), last)

    def forward(self, y: Tensor) -> Tensor:
        """(B, latent, H, W) to (B, 3, 16 H, 16 W)."""
        head = self.conv_block_init(y)
        x = head
        for name in self.residual:
            x = self.get_submodule(name)(x)
        x = x + head
        for name in self.upsampling:
            x = self.get_submodule(name)(x)
        return self.conv_block_out(x)  # type: ignore[no-any-return]


class HyperEncoder(nn.Module):
    """Latents y to hyper-latents z at 1/4 of their size."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.hyper
        self.conv1 = nn.Conv2d(config.latent, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 5, 2, padding=2, padding_mode="reflect")
        self.conv3 = nn.Conv2d(width, width, 5, 2, padding=2, padding_mode="reflect")

    def forward(self, y: Tensor) -> Tensor:
        """(B, latent, H, W) to (B, hyper, H/4, W/4)."""
        return self.conv3(self.conv2(self.conv1(y).relu_()).relu_())  # type: ignore[no-any-return]


class HyperDecoder(nn.Module):
    """Quantised hyper-latents to one number per latent: its mean, or its scale."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.hyper
        self.conv1 = nn.ConvTranspose2d(width, width, 5, 2, padding=2, output_padding=1)
        self.conv2 = nn.ConvTranspose2d(width, width, 5, 2, padding=2, output_padding=1)
        self.conv3 = nn.ConvTranspose2d(width, config.latent, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """(B, hyper, H, W) to (B, latent, 4 H, 4 W)."""
        return self.conv3(self.conv2(self.conv1(z).relu_()).relu_())  # type: ignore[no-any-return]


class HyperDensity(nn.Module):
    """Each hyper-latent channel's own distribution (Ballé et al. 2018, section 6.1).

    Unlike CompressAI's EntropyBottleneck, the last layer has a non-linearity too.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        for k, (before, after) in enumerate(pairwise(DENSITY_FILTERS)):
            # softplus of it is 1 / (10^(1/4) * after): starts as a distribution about 10 wide
            start = math.log(math.expm1(10**-0.25 / after))
            self.register_parameter(
                f"H_{k}", nn.Parameter(torch.full((config.hyper, after, before), start))
            )
            zeros = torch.zeros(config.hyper, after, 1)
            self.register_parameter(f"a_{k}", nn.Parameter(zeros))
            self.register_parameter(f"b_{k}", nn.Parameter(torch.rand_like(zeros) - 0.5))

    def logits(self, x: Tensor) -> Tensor:
        """Logits of the cumulative distribution at ``x``, (channels, 1, n); same shape out."""
        for k in range(len(DENSITY_FILTERS) - 1):
            weight, gate, bias = (self.get_parameter(f"{name}_{k}").to(x) for name in "Hab")
            x = torch.bmm(functional.softplus(weight), x) + bias
            x = x + torch.tanh(gate) * torch.tanh(x)
        return x


class Hyperprior(nn.Module):
    """Side information: hyper-latents, and what they say about each latent."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.analysis_net = HyperEncoder(config)
        self.synthesis_mu = HyperDecoder(config)
        self.synthesis_std = HyperDecoder(config)
        self.hyperlatent_likelihood = HyperDensity(config)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Means and scales (>= 0.11) of the latents, from quantised hyper-latents."""
        return self.synthesis_mu(z), self.synthesis_std(z).clamp(min=MIN_SCALE)


class HiFiC(nn.Module):
    """The whole codec without its entropy coder."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.Encoder = Encoder(config)
        self.Generator = Generator(config)
        self.Hyperprior = Hyperprior(config)

    def latents(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latents and hyper-latents, neither quantised, of an image.

        ``x``: (B, 3, H, W) in [0, 1], H and W multiples of 16 and at least 80 (the hyper-encoder's
        last reflection needs 3 positions). Latents are reflect-padded to multiples of 4.
        """
        y = self.Encoder(x * 2 - 1 if self.config.signed else x)
        rows, columns = (-side % HYPER_STRIDE for side in y.shape[2:])
        y = functional.pad(y, (0, columns, 0, rows), mode="reflect")
        return y, self.Hyperprior.analysis_net(y)

    def image(self, y: Tensor) -> Tensor:
        """Image in [0, 1], float32 (B, 3, 16 H, 16 W), of quantised latents (B, C, H, W)."""
        x = self.Generator(y)
        if self.config.signed:
            x = (torch.tanh(x) + 1) / 2
        return x.clamp(0, 1)  # type: ignore[no-any-return]
