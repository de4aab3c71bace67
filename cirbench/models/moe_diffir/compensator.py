"""Decoder compensator (paper 3.4, stage II): LQ encoder features mended into the VAE's decoder.

Controllable feature wrapping in the way of StableSR (release): at two levels, features of the VAE's
encoder of the LQ image and of the decoder are fused by residual-in-residual dense blocks and added
with weight w. Forward hooks read the one and change the other, so the VAE stays diffusers' own.

Ours, and off in ``paper``: a last fusion of the decoded and the LQ image themselves. A VAE as small
as ``tiny``'s loses more of a photo than most codecs do, and no feature of it can bring that back.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.nn import functional

from ...errors import CirbenchError
from .config import CompensatorSize


class DenseBlock(nn.Module):
    """Five convolutions, each reading all before it (Wang et al. 2018, ESRGAN), scaled by 0.2."""

    def __init__(self, dim: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(dim + index * growth, growth if index < 4 else dim, 3, padding=1)
            for index in range(5)
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        known = image
        for layer in self.layers[:4]:
            known = torch.cat([known, functional.leaky_relu(layer(known), 0.2)], 1)
        return image + 0.2 * self.layers[4](known)


class Fusion(nn.Module):
    """Fuse decoder and encoder features of one level; the change it adds starts at zero.

    Args:
        decoder, encoder: channels.
        groups: of the group normalisation.
        size: see :class:`CompensatorSize`.
    """

    def __init__(self, decoder: int, encoder: int, groups: int, size: CompensatorSize) -> None:
        super().__init__()

        def resnet(before: int, after: int) -> Any:
            return ResnetBlock2D(
                in_channels=before, out_channels=after, temb_channels=None, groups=groups, eps=1e-6
            )

        self.first = resnet(encoder + decoder, decoder)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(DenseBlock(decoder, size.growth) for _ in range(3)))
            for _ in range(size.blocks)
        )
        self.last = resnet(decoder, decoder)
        self.out = nn.Conv2d(decoder, decoder, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, decoded: Tensor, encoded: Tensor, weight: float) -> Tensor:
        """``decoded + weight * change``, all (B, C, h, w); exactly ``decoded`` for weight 0."""
        if weight == 0:
            return decoded
        hidden = self.first(torch.cat([encoded, decoded], 1), None)
        for block in self.blocks:
            hidden = hidden + 0.2 * (block(hidden) - hidden)
        change = self.out(self.last(hidden, None))
        return decoded + weight * change


class ImageFusion(nn.Module):
    """The LQ image, and what is made of both images at half their size, which starts at nothing.

    Args:
        width: channels of its four residual blocks.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        # Both images, and all four pixels of a 2 x 2 block, as channels.
        self.first = nn.Conv2d(2 * 3 * 4, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(width, width, 3, padding=1),
            )
            for _ in range(4)
        )
        self.out = nn.Conv2d(width, 3 * 4, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, decoded: Tensor, lq: Tensor, weight: float) -> Tensor:
        """``decoded + weight * (lq - decoded + change)``, all (B, 3, H, W) in about [-1, 1].

        H and W are even. Exactly ``decoded`` for weight 0.
        """
        if weight == 0:
            return decoded
        hidden = self.first(functional.pixel_unshuffle(torch.cat([decoded, lq], 1), 2))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        change = functional.pixel_shuffle(self.out(hidden), 2)
        return decoded + weight * (lq - decoded + change)


class Compensator(nn.Module):
    """The fusion layers of one VAE, hooked into it. Holds the layers, not the VAE.

    Args:
        vae: a diffusers ``AutoencoderKL``.
        size: see :class:`CompensatorSize`.

    Raises CirbenchError for a level that the VAE does not have.
    """

    def __init__(self, vae: Any, size: CompensatorSize) -> None:
        super().__init__()
        self.weight = size.weight
        self._weight_now, self._reading = size.weight, False
        self._vae = [vae]  # in a list: not a part of this module
        self._encoded: dict[int, Tensor] = {}
        count = len(vae.config.block_out_channels)
        layers = {}
        for level in size.levels:
            if not 0 <= level < count:
                raise CirbenchError(
                    f"compensator.levels has {level}; this VAE has the levels 0 to {count - 1}"
                )
            encoder = vae.encoder.down_blocks[level].resnets[-1]
            decoder = vae.decoder.up_blocks[count - 1 - level].resnets[-1]
            fusion = Fusion(
                decoder.conv2.out_channels,
                encoder.conv2.out_channels,
                vae.config.norm_num_groups,
                size,
            )
            encoder.register_forward_hook(self._reader(level))
            decoder.register_forward_hook(self._writer(level, fusion))
            layers[str(level)] = fusion
        self.layers = nn.ModuleDict(layers)
        self.image = ImageFusion(size.image) if size.image else None

    def _reader(self, level: int) -> Any:
        def read(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            if self._reading:
                self._encoded[level] = output

        return read

    def _writer(self, level: int, fusion: Fusion) -> Any:
        def write(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            if level not in self._encoded:
                return output
            return fusion(output, self._encoded[level], self._weight_now)

        return write

    def forward(self, latents: Tensor, lq: Tensor, weight: float | None = None) -> Tensor:
        """Decode with compensation. The VAE must not be gradient-checkpointed.

        Args:
            latents: (B, C, h, w), as the VAE's decoder takes them.
            lq: (B, 3, H, W) in [-1, 1].
            weight: w; None takes the one of the configuration.

        Returns:
            (B, 3, H, W), about [-1, 1]; for w = 0 exactly the plain decoder's.
        """
        vae = self._vae[0]
        self._weight_now = self.weight if weight is None else weight
        try:
            self._reading = True
            with torch.no_grad():  # the encoder is frozen, and before every trained layer
                vae.encoder(lq)
            self._reading = False
            decoded: Tensor = vae.decode(latents).sample
            return decoded if self.image is None else self.image(decoded, lq, self._weight_now)
        finally:
            self._reading = False
            self._encoded.clear()
