"""Cheng2020 networks: read from a weight file without running its code, and run.

Cheng, Sun, Takeuchi and Katto 2020 (arXiv:2001.01568) as CompressAI builds it. The analysis
transform is CompressAI's own, bit for bit (another convolution kernel moves a latent over a
rounding boundary now and then); the synthesis transform only has to be the same at both ends, so
on a CPU it uses the faster channels-last kernels. Everything that entropy decoding depends on
runs on the CPU whatever the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CirbenchError
from . import autoregressive, learned, weight_file
from .cheng2020 import STRIDE
from .context import Context, prepare
from .torch_compat import import_torchvision

Strings = tuple[bytes, bytes]
"""The two rANS strings of an image: latent y, hyper-latent z."""

_WIDEST = 512  # N of the widest network worth loading; CompressAI's are 128 and 192
_TABLES = ("_quantized_cdf", "_offset", "_cdf_length")


@dataclass(frozen=True)
class Network:
    """A loaded model on its device, ready to code.

    Attributes:
        model: CompressAI's module; ``g_a``, ``h_a`` and ``g_s`` on ``device``, the rest on the CPU.
        context: its context model; coding runs on one thread, whose sums two do not change.
        device: ``"cpu"``, ``"cuda"`` or ``"mps"``.
    """

    model: Any
    context: Context
    device: str

    def compress(self, image: Tensor) -> tuple[Strings, Tensor]:
        """The strings CompressAI's ``compress()`` makes, and y_hat (1, M, H/16, W/16).

        ``image``: float32 (1, 3, H, W) in [0, 1] on the CPU, H and W multiples of STRIDE.
        """
        y = self.model.g_a(image.to(self.device))
        z = self.model.h_a(y).cpu()
        z_strings = self.model.entropy_bottleneck.compress(z)
        z_hat = self.model.entropy_bottleneck.decompress(z_strings, z.shape[2:])
        params = self.model.h_s(z_hat)
        with learned.counted(1):
            y_string, y_hat = autoregressive.encode(self.context, y.cpu(), params)
        return (y_string, z_strings[0]), y_hat

    def latents(self, strings: Strings, size: tuple[int, int]) -> Tensor:
        """y_hat of the strings of an image of ``size`` = (H, W), multiples of STRIDE."""
        height, width = size[0] // STRIDE, size[1] // STRIDE
        symbols = self.context.channels * height * width
        y_string = learned.readable(strings[0], 16 * symbols)
        z_string = learned.readable(strings[1], symbols)
        z_hat = self.model.entropy_bottleneck.decompress([z_string], (height, width))
        params = self.model.h_s(z_hat)
        with learned.counted(1):
            return autoregressive.decode(self.context, y_string, params)

    def image(self, y_hat: Tensor) -> Tensor:
        """The decoded picture: float32 (1, 3, H, W) in [0, 1], on the CPU."""
        y_hat = y_hat.to(self.device)
        if self.device == "cpu":
            y_hat = y_hat.contiguous(memory_format=torch.channels_last)
        image: Tensor = self.model.g_s(y_hat)
        return image.clamp_(0, 1).cpu()


def network(path: Path, architecture: str, device: str) -> Network:
    """A coder for the weights in ``path``.

    Raises CirbenchError when the file is not what :func:`load` takes.
    """
    model = load(path, architecture)
    with learned.counted(1):
        context = prepare(model)
    for part in (model.g_a, model.h_a, model.g_s):
        part.to(device)
    if device == "cpu":
        model.g_s.to(memory_format=torch.channels_last)
    return Network(model, context, device)


def load(path: Path, architecture: str) -> Any:
    """CompressAI's model with the weights in ``path``: float32, on the CPU, for evaluation.

    Args:
        path: a CompressAI checkpoint (``.pth.tar``: a state dict, or a dictionary with one under
            ``"state_dict"``), or a ``.safetensors`` file with the same names, float32 or float16.
            Entropy tables that it lacks are computed.
        architecture: ``"attn"`` or ``"anchor"``.

    Raises CirbenchError, in one sentence, for anything else. Nothing in the file is executed.
    """
    import_torchvision()
    from compressai.models import Cheng2020Anchor, Cheng2020Attention
    from compressai.zoo.pretrained import load_pretrained

    state = load_pretrained(_read(path))
    if not weight_file.fit(state, path):
        raise _refused(path, "its tensors are larger than the file")
    first = state.get("g_a.0.conv1.weight")
    if first is None or first.dim() != 4 or not 8 <= len(first) <= _WIDEST:
        raise _refused(path, "it has no Cheng2020 analysis transform")
    if not weight_file.are_finite(state):
        raise _refused(path, "some of its numbers are not finite")
    model = {"attn": Cheng2020Attention, "anchor": Cheng2020Anchor}[architecture](len(first))
    state = {
        key: value.to(torch.float32 if value.is_floating_point() else torch.int32)
        for key, value in state.items()
    }
    state["context_prediction.mask"] = model.context_prediction.mask
    for coder in ("entropy_bottleneck", "gaussian_conditional"):
        for table in _TABLES:
            state.setdefault(f"{coder}.{table}", torch.empty(0, dtype=torch.int32))
    state.setdefault("gaussian_conditional.scale_table", torch.empty(0))
    try:
        model.load_state_dict(state)
        model.update()
    except (RuntimeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[1:2] or str(error).splitlines()[:1]
        why = f"it does not fit cheng2020-{architecture} ({''.join(reason).strip().rstrip('.')})"
        raise _refused(path, why[:300]) from error
    for coder in (model.entropy_bottleneck, model.gaussian_conditional):
        if not _sound(coder):
            raise _refused(path, "its entropy tables are damaged")
    return model.eval().requires_grad_(False)


def _read(path: Path) -> dict[str, Tensor]:
    """All named tensors of a file."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            raw: Any = load_file(path)
        else:
            raw = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever a damaged or hostile file provokes in the reader
        raise _refused(path, weight_file.reason(error)) from error
    if isinstance(raw, dict) and isinstance(raw.get("state_dict"), dict):
        raw = raw["state_dict"]
    if not isinstance(raw, dict):
        raise _refused(path, "it is not a dictionary of tensors")
    return weight_file.tensors(raw)


def _refused(path: Path, why: str) -> CirbenchError:
    return CirbenchError(f"{path} is not a usable Cheng2020 weight file: {why}; get it again")


def _sound(coder: Any) -> bool:
    """Whether the rANS coder, which trusts its tables, can be given these."""
    tables, lengths = coder.quantized_cdf, coder.cdf_length
    count = getattr(coder, "channels", None) or len(coder.scale_table)
    if tables.dim() != 2 or not len(tables) == len(lengths) == len(coder.offset) == count:
        return False
    if lengths.min() < 3 or lengths.max() > tables.shape[1]:
        return False
    rows = [row[:length] for row, length in zip(tables, lengths.tolist(), strict=True)]
    return all(row[0] == 0 and row[-1] == 1 << 16 and bool((row.diff() > 0).all()) for row in rows)
