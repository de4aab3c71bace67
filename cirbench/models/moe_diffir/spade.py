"""SPADE layers that let the prompt module modulate a frozen diffusers UNet (paper 3.2).

As in the release they sit in every residual block of the UNet's middle and output (up) blocks, on
the residual branch. A forward hook on the branch's last convolution puts them there, so the UNet
itself, its weights and its file format stay diffusers' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from ...errors import CirbenchError


class Spade(nn.Module):
    """Spatially adaptive modulation (Park et al. 2019), as a change that starts at zero.

    ``h + norm(h) * gamma(f) + beta(f)``. The original multiplies norm(h) by 1 + gamma, which would
    already change a trained UNet where gamma and beta are zero.

    Args:
        channels: of h.
        features: channels of f.
        hidden: width of the layer that gamma and beta share.
        groups: of the parameter-free group normalisation.
    """

    def __init__(self, channels: int, features: int, hidden: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, affine=False)
        self.shared = nn.Conv2d(features, hidden, 3, padding=1)
        self.gamma_beta = nn.Conv2d(hidden, 2 * channels, 3, padding=1)
        nn.init.zeros_(self.gamma_beta.weight)
        nn.init.zeros_(self.gamma_beta.bias)  # type: ignore[arg-type]

    def forward(self, hidden: Tensor, features: Tensor) -> Tensor:
        """(B, C, h, w) modulated by features (B, F, h, w)."""
        shared = functional.relu(self.shared(features))
        gamma, beta = self.gamma_beta(shared).chunk(2, dim=1)
        return hidden + self.norm(hidden) * gamma + beta


class SpadeInjection(nn.Module):
    """The SPADE layers of one UNet, hooked into it.

    Holds the layers, not the UNet: its state dict is the layers' alone.

    Args:
        unet: a ``UNet2DConditionModel``.
        features: channels of the prompt module's features.
        hidden: see :class:`Spade`.

    Raises CirbenchError for a UNet whose middle or up blocks have no residual blocks.
    """

    def __init__(self, unet: Any, features: int, hidden: int) -> None:
        super().__init__()
        self.levels = len(unet.config.block_out_channels)
        self._features: Sequence[Tensor] = ()
        layers = []
        places = [(unet.mid_block, self.levels - 1)]
        places += [(block, self.levels - 1 - index) for index, block in enumerate(unet.up_blocks)]
        for block, level in places:
            if not hasattr(block, "resnets"):
                raise CirbenchError(
                    f"the UNet's {type(block).__name__} has no residual blocks for SPADE; use a "
                    "UNet with convolutional blocks, such as Stable Diffusion's"
                )
            for resnet in block.resnets:
                groups = resnet.norm2.num_groups
                layer = Spade(resnet.conv2.out_channels, features, hidden, groups)
                resnet.conv2.register_forward_hook(self._hook(layer, level))
                layers.append(layer)
        self.layers = nn.ModuleList(layers)

    def _hook(self, layer: Spade, level: int) -> Any:
        def modulate(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            return layer(output, self._features[level]) if self._features else output

        return modulate

    def use(self, features: Sequence[Tensor]) -> None:
        """Features (B, F, h / 2^s, w / 2^s), one per level, for the UNet's next calls; () for none.

        They stay until the next call: gradient checkpointing runs the UNet again in backward.

        Raises ValueError when there is not one for each level.
        """
        if features and len(features) != self.levels:
            raise ValueError(f"{len(features)} features for a UNet of {self.levels} levels")
        self._features = tuple(features)
