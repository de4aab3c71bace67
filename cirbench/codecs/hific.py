"""HiFiC (Mentzer et al. 2020): learned codec with a generative decoder and a hyperprior.

Bitstream: 1 byte level (0 low, 1 med, 2 high), 4 bytes CRC-32 (big-endian) over the sha256 of the
weights, the picture's size and the stream, then one rANS stream of hyper-latents and latents.

Both ends turn the same integers into statistics and pixels with the same functions, so the
encoder's reconstruction is the decoder's output. That needs the same kind of device and the same
number of threads on both ends: both are settings. Sizes that are not multiples of 16 are
reflect-padded as the public implementation does; so is any image smaller than 80 pixels, which that
one cannot code. (Its script also stretches each saved picture to its own minimum and maximum;
nothing here does.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import weights
from ..errors import CodecError, UnavailableError
from . import learned, torch_compat
from .base import RGB, Encoded, Probe, Settings

if TYPE_CHECKING:
    from torch import Tensor

    from .hific_entropy import Symbols, Tables
    from .hific_model import HiFiC

LEVELS = ("low", "med", "high")
HEADER = 5
STRIDE = 16
MIN_SIDE = 80
"""Below it the hyper-encoder's reflections have nothing to reflect."""

_LIMIT = 2**15
"""Symbols beyond it are cut off: far outside any model's range, still exact in float32."""


def encode(rgb: RGB, level: int | str, settings: Settings) -> Encoded:
    """Code an image of any size from 1x1 at ``level`` (low, med or high).

    Raises UnavailableError without the weights, CirbenchError when their file cannot be used.
    """
    from . import hific_entropy

    found = weights.resolve("hific", str(level), settings["weights"])
    codec = _codec(found.path, found.sha256, settings["device"])
    size = rgb.shape[0], rgb.shape[1]
    with learned.steady(settings["threads"]):
        y, z = codec.model.latents(_picture(rgb, settings["device"]))
        z_symbols = _rounded(z)
        means, scales = codec.statistics(z_symbols, size)
        y_symbols = _rounded(y - means)
        pixels = codec.pixels(y_symbols, means, size)
    writer = hific_entropy.Writer()
    writer.add(z_symbols, hific_entropy.hyper_indexes(codec.hyper_shape(size)), codec.hyper)
    writer.add(y_symbols, hific_entropy.latent_indexes(scales), codec.latent)
    stream = writer.stream()
    header = bytes([LEVELS.index(str(level))]) + learned.checksum(found.sha256, size, stream)
    config = codec.model.config
    args = f"latents {config.latent} {config.likelihood}"
    return Encoded(header + stream, args, pixels, (found.label, found.sha256))


def decode(bitstream: bytes, size: tuple[int, int], settings: Settings) -> RGB:
    """Pixels of a bitstream. Raises CodecError when it is damaged or belongs to other weights."""
    from . import hific_entropy

    level, stream = level_of(bitstream, settings), bitstream[HEADER:]
    found = weights.resolve("hific", level, settings["weights"])
    if bitstream[1:HEADER] != learned.checksum(found.sha256, size, stream):
        raise CodecError(
            f"the HiFiC bitstream is damaged, or not of a {size[1]}x{size[0]} picture coded with"
            f" {found.label} (sha256 {found.sha256[:8]}); use the weights its manifest row names"
        )
    codec = _codec(found.path, found.sha256, settings["device"])
    hyper = hific_entropy.hyper_indexes(codec.hyper_shape(size))
    latents = codec.model.config.latent * prod(side // STRIDE for side in _padded(size))
    reader = hific_entropy.Reader(learned.readable(stream, len(hyper) + latents))
    z_symbols = reader.take(hyper, codec.hyper)
    with learned.steady(settings["threads"]):
        means, scales = codec.statistics(z_symbols, size)
        y_symbols = reader.take(hific_entropy.latent_indexes(scales), codec.latent)
        return codec.pixels(y_symbols, means, size)


def level_of(bitstream: bytes, settings: Settings) -> str:
    """The level that a bitstream was coded at. Raises CodecError when it is no HiFiC bitstream."""
    if len(bitstream) < HEADER or bitstream[0] >= len(LEVELS):
        raise CodecError("this is not a HiFiC bitstream; build the row again")
    return LEVELS[bitstream[0]]


def probe(settings: Settings) -> Probe:
    """Needs torch, compressai, the device, and the weights of at least one level."""
    found = learned.probe(settings, "HiFiC")
    return learned.probe_weights(
        found, lambda level: weights.resolve("hific", level, settings["weights"]), LEVELS
    )


@dataclass(frozen=True)
class _Codec:
    """A loaded model on its device, and what both ends compute with it from decoded integers."""

    model: HiFiC
    hyper: Tables
    latent: Tables
    device: str

    def hyper_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """(C, H, W) of the hyper-latents of a picture: 1/16, then 1/4, each rounded up."""
        height, width = (-(-side // (4 * STRIDE)) for side in _padded(size))
        return self.model.config.hyper, height, width

    def statistics(self, z_symbols: Symbols, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Means and scales of the latents."""
        means, scales = self.model.Hyperprior(self._tensor(z_symbols, self.hyper_shape(size)))
        return means, scales

    def pixels(self, y_symbols: Symbols, means: Tensor, size: tuple[int, int]) -> RGB:
        """The decoded picture, cropped to ``size``."""
        import torch

        y = self._tensor(y_symbols, means.shape[1:]) + means
        image = self.model.image(y)[0, :, : size[0], : size[1]]
        samples = (image * 255 + 0.5).floor().to(torch.uint8).permute(1, 2, 0)
        pixels: RGB = samples.contiguous().cpu().numpy()
        return pixels

    def _tensor(self, symbols: Symbols, shape: Sequence[int]) -> Tensor:
        import torch

        planes = torch.from_numpy(symbols).view(1, *shape).to(self.device, torch.float32)
        return planes.contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=len(LEVELS))
def _codec(path: Path, _sha256: str, device: str) -> _Codec:
    if reason := learned.device_problem(device):
        raise UnavailableError(reason)
    torch_compat.import_torchvision()
    from . import hific_entropy
    from .hific_load import load

    model = load(path)
    hyper = hific_entropy.hyper_tables(model.Hyperprior.hyperlatent_likelihood)
    latent = hific_entropy.latent_tables(model.config.likelihood)
    return _Codec(model.to(device), hyper, latent, device)


def _padded(size: tuple[int, int]) -> tuple[int, int]:
    height, width = (max(MIN_SIDE, -(-side // STRIDE) * STRIDE) for side in size)
    return height, width


def _picture(rgb: RGB, device: str) -> Tensor:
    """(1, 3, H, W) in [0, 1], padded by reflection (a single row or column: by repetition)."""
    import torch

    height, width = rgb.shape[:2]
    padded = _padded((height, width))
    grow = ((0, padded[0] - height), (0, padded[1] - width), (0, 0))
    pixels = torch.from_numpy(np.pad(rgb, grow, mode="reflect")).to(device)
    return pixels.permute(2, 0, 1)[None].to(torch.float32) / 255


def _rounded(values: Tensor) -> Symbols:
    """Nearest integers, halves up, flat in (C, H, W) order."""
    limited = (values + 0.5).floor().clamp(-_LIMIT, _LIMIT)
    return limited.cpu().numpy().reshape(-1).astype(np.int32)
