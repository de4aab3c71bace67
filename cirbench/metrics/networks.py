"""What the metrics that are neural networks share: packages, weight files, tensors. No fallbacks.

The weight files are those of ``manifests/weights.toml``; nothing is ever downloaded here.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import weights
from ..errors import UnavailableError
from .base import Image, Memo


def problem(title: str, packages: Sequence[str], files: Sequence[str]) -> str:
    """``""`` when all packages and weight files are here, else what is missing and its command."""
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    if absent:
        return f"{title} needs {' and '.join(absent)}; run: pip install 'cirbench[eval]'"
    missing = [weights.record(name) for name in files if weights.find(name) is None]
    if not missing:
        return ""
    what = " and ".join(f"{one.file} ({one.size}, licence {one.licence})" for one in missing)
    command = f"cirbench weights pull {' '.join(one.name for one in missing)}"
    return f"{title} needs the weights {what}; run: {command}"


def load(name: str) -> Any:
    """The state dict in weight file ``name``, on the CPU.

    Raises UnavailableError when the file is missing, is not the published one, or cannot be read.
    """
    import torch

    one = weights.record(name)
    path = weights.find(name)
    if path is None:
        get = f"run: cirbench weights pull {name}"
        raise UnavailableError(f"{one.file} ({one.size}, licence {one.licence}) is missing; {get}")
    require_genuine(one, path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler met
        raise UnavailableError(f"{path} cannot be read; delete it and pull {name}") from error


def require_genuine(one: weights.Record, path: Path) -> None:
    """Raise UnavailableError when ``path`` is not the file that a record names."""
    if weights.Found(one, path).genuine is False:
        raise UnavailableError(
            f"{path} is not the published file (its sha256 does not start with {one.sha256[:8]});"
            f" move it away and run: cirbench weights pull {one.name}"
        )


def device(memo: Memo) -> str:
    """Where to run: ``memo["device"]``, by default the CPU."""
    return str(memo.get("device", "cpu"))


def tensor(image: Image, memo: Memo) -> Any:
    """float32 (1, 3, H, W) in [0, 1], on the memo's device, of an 8-bit RGB image."""
    import torch

    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    return torch.from_numpy(planes).to(device(memo))[None].float() / 255
