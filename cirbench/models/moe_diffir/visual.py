"""Image encoders whose features the visual-to-text adapter reads (paper 3.3).

Each is a module with ``forward(view) -> (B, channels, side, side)`` and the attributes ``channels``
and ``side``. Those with ``pixels = True`` view a decoded image in [0, 1] of any size, the others
latents.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from ...errors import UnavailableError
from .config import VisualConfig

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_input(image: Tensor, side: int) -> Tensor:
    """(B, 3, H, W) in [0, 1] as CLIP wants it: (B, 3, side, side), normalised (Radford et al.)."""
    if image.shape[2:] != (side, side):
        image = functional.interpolate(
            image, (side, side), mode="bicubic", antialias=True, align_corners=False
        )
    mean, std = (image.new_tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    return (image.clamp(0, 1) - mean) / std


class TinyVisual(nn.Module):
    """A small convolutional encoder of latents; stage 0 trains it together with the UNet.

    Args:
        latent_channels: of the latents.
        channels: of the map.
        side: the map is averaged to side x side.
    """

    pixels = False

    def __init__(self, latent_channels: int, channels: int, side: int = 4) -> None:
        super().__init__()
        self.channels, self.side = channels, side
        half = channels // 2
        self.layers = nn.Sequential(
            nn.Conv2d(latent_channels, half, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(half, channels, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """(B, C, h, w) to (B, channels, side, side)."""
        return functional.adaptive_avg_pool2d(self.layers(latents), self.side)


class ClipResNet(nn.Module):
    """CLIP's modified ResNet (open_clip's), up to layer 4: RN50 gives 7x7x2048 from 224x224.

    Args:
        image_size, layers, width: of the network; RN50 is 224, (3, 4, 6, 3), 64.

    Raises UnavailableError when open_clip is not installed.
    """

    pixels = True

    def __init__(self, image_size: int, layers: list[int], width: int) -> None:
        super().__init__()
        network = open_clip("modified_resnet").ModifiedResNet(
            list(layers),
            output_dim=width * 16,
            heads=width // 2,
            image_size=image_size,
            width=width,
        )
        network.attnpool = nn.Identity()
        self.network = network
        self.image_size, self.channels, self.side = image_size, width * 32, image_size // 32

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, width * 32, side, side)."""
        features: Tensor = self.network(clip_input(image, self.image_size))
        return features


class ClipViT(nn.Module):
    """CLIP's vision transformer (transformers'): the patch tokens of its last layer as a map.

    Args:
        settings: arguments of ``transformers.CLIPVisionConfig``.
    """

    pixels = True

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        from transformers import CLIPVisionConfig, CLIPVisionModel

        config = CLIPVisionConfig(**settings)
        self.network = CLIPVisionModel(config)
        self.image_size = int(config.image_size)
        self.channels, self.side = int(config.hidden_size), self.image_size // config.patch_size

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, hidden_size, side, side)."""
        found = self.network(clip_input(image, self.image_size)).last_hidden_state[:, 1:]
        return found.transpose(1, 2).unflatten(2, (self.side, self.side))


def build(config: VisualConfig, latent_channels: int) -> Any:
    """The encoder that ``config`` describes, with random weights."""
    if config.kind == "tiny":
        return TinyVisual(latent_channels, config.width, **config.args)
    return {"clip-resnet": ClipResNet, "clip-vit": ClipViT}[config.kind](**config.args)


def open_clip(module: str) -> Any:
    """A module of open_clip. Raises UnavailableError when it is not installed."""
    import importlib

    from ...codecs.torch_compat import import_torchvision

    try:
        import_torchvision()
        return importlib.import_module(f"open_clip.{module}")
    except ImportError as error:
        raise UnavailableError(
            "CLIP ResNet and DA-CLIP need open_clip; run: pip install open_clip_torch"
        ) from error
