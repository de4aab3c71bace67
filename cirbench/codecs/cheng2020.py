"""C_PSNR and C_SSIM: the learned codec of Cheng et al. 2020, as CompressAI builds it.

Bitstream::

    1 byte    level q (1..15), plus 16 for weights trained for MS-SSIM
    4 bytes   CRC-32, big-endian, of the weights' sha256, the picture's size and what follows
    varint    bytes in the z string (LEB128: 7 bits a byte, low ones first, top bit = more)
    z string  hyper-latents, CompressAI's rANS (``strings[1]`` of ``compress()``)
    y string  latents, CompressAI's rANS (``strings[0]``), up to the end

The picture's size is the manifest's. It is padded to multiples of 64 at the bottom and right by
repeating the last row and column, and cropped back. The LQ picture is
symbols -> means -> y_hat -> g_s -> clamp to [0, 1] -> round to 8 bits (halves to even), at the
number of threads in the settings: the encoder's reconstruction and the decoder's output are the
same function of the same symbols. (CompressAI's ``forward()`` is another picture: it rounds y
without the predicted mean.)
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import weights
from ..color import pad
from ..errors import CodecError, UnavailableError
from . import learned
from .base import RGB, Encoded, Probe, Settings

if TYPE_CHECKING:
    from torch import Tensor

    from .cheng2020_model import Network

STRIDE = 64
"""Pixels per hyper-latent, each way; latents are at a sixteenth of the picture's size."""

METRICS = ("mse", "ms-ssim")
CODECS = {"mse": "c_psnr", "ms-ssim": "c_ssim"}
LEVELS = (1, 2, 3)
_HEADER = 5


def encode(rgb: RGB, level: int | str, settings: Settings) -> Encoded:
    """Code an image of any size from 1x1 at ``level`` (q = 1, 2, 3).

    Raises UnavailableError without the weights, CirbenchError when their file cannot be used.
    """
    quality = int(level)
    size = rgb.shape[0], rgb.shape[1]
    found = _weights(settings, quality)
    with learned.steady(settings["threads"]):
        net = _network(found.path, found.sha256, settings["architecture"], settings["device"])
        (y_string, z_string), y_hat = net.compress(_picture(rgb))
        pixels = _pixels(net, y_hat, size)
    stream = _varint(len(z_string)) + z_string + y_string
    start = bytes([quality + 16 * METRICS.index(settings["metric"])])
    bitstream = start + learned.checksum(found.sha256, size, stream) + stream
    name = f"cheng2020-{settings['architecture']}"
    args = f"{name} N={net.context.channels}"
    return Encoded(bitstream, args, pixels, (found.label, found.sha256))


def decode(bitstream: bytes, size: tuple[int, int], settings: Settings) -> RGB:
    """Pixels of a bitstream. Raises CodecError when it is damaged or belongs to other weights."""
    quality = level_of(bitstream, settings)
    found = _weights(settings, quality)
    stream = bitstream[_HEADER:]
    if bitstream[1:_HEADER] != learned.checksum(found.sha256, size, stream):
        raise CodecError(
            f"the Cheng2020 bitstream is damaged, or was not made for a {size[1]}x{size[0]} picture"
            f" with {found.label} (sha256 {found.sha256[:8]});"
            " use the weights its manifest row names"
        )
    z_length, start = _read_varint(stream)
    strings = stream[start + z_length :], stream[start : start + z_length]
    if min(map(len, strings)) < 8:  # a rANS string is at least its final state
        raise CodecError("the Cheng2020 bitstream's parts do not add up; build the row again")
    with learned.steady(settings["threads"]):
        net = _network(found.path, found.sha256, settings["architecture"], settings["device"])
        y_hat = net.latents(strings, _padded(size))
        return _pixels(net, y_hat, size)


def probe(settings: Settings) -> Probe:
    """Needs torch, compressai, the device, and the weights of at least one level."""
    found = learned.probe(settings, f"cheng2020-{settings['architecture']}")
    return learned.probe_weights(found, lambda level: _weights(settings, level), LEVELS)


def level_of(bitstream: bytes, settings: Settings) -> int:
    """The level q that a bitstream was coded at.

    Raises CodecError when it is no Cheng2020 bitstream of this codec (``settings["metric"]``).
    """
    start = bitstream[0] if len(bitstream) > _HEADER else 0
    metric, quality = divmod(start, 16)
    if metric >= len(METRICS) or quality not in LEVELS:
        raise CodecError("this is not a Cheng2020 bitstream; build the row again")
    if METRICS[metric] != settings["metric"]:
        made, wanted = CODECS[METRICS[metric]], CODECS[settings["metric"]]
        raise CodecError(f"this bitstream was made by {made}, not by {wanted}")
    return quality


def _weights(settings: Settings, level: int) -> weights.Found:
    model = f"cheng2020-{settings['architecture']}"
    codec = CODECS[settings["metric"]]
    return weights.resolve(codec, f"q{level}", settings["weights"], model=model)


@lru_cache(maxsize=len(METRICS) * len(LEVELS))
def _network(path: Path, _sha256: str, architecture: str, device: str) -> Network:
    if problem := learned.device_problem(device):
        raise UnavailableError(problem)
    from .cheng2020_model import network

    return network(path, architecture, device)


def _padded(size: tuple[int, int]) -> tuple[int, int]:
    height, width = size
    return -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE


def _picture(rgb: RGB) -> Tensor:
    """float32 (1, 3, H, W) in [0, 1], padded to multiples of STRIDE."""
    import torch

    planes = np.ascontiguousarray(pad(rgb, STRIDE, STRIDE).transpose(2, 0, 1))
    return torch.from_numpy(planes)[None].to(torch.float32) / 255


def _pixels(net: Network, y_hat: Tensor, size: tuple[int, int]) -> RGB:
    """The LQ picture of a latent, cropped to ``size``: all that both ends have in common."""
    import torch

    image = net.image(y_hat)[0, :, : size[0], : size[1]]
    samples = (image * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
    rgb: RGB = samples.numpy()
    return rgb


def _varint(number: int) -> bytes:
    coded = bytearray()
    while number >= 128:
        coded.append(number & 127 | 128)
        number >>= 7
    coded.append(number)
    return bytes(coded)


def _read_varint(data: bytes) -> tuple[int, int]:
    """The number at the start of ``data`` and how many bytes it takes."""
    number = 0
    for position, byte in enumerate(data[:5]):
        number |= (byte & 127) << 7 * position
        if byte < 128:
            return number, position + 1
    raise CodecError("the Cheng2020 bitstream's parts do not add up; build the row again")
