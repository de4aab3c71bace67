"""Make ``import torchvision`` work next to a CPU-only torch.

compressai, lpips and diffusers import torchvision. Where the registry serves a CPU build of torch
but only a CUDA build of torchvision, torchvision's own compiled operators cannot be loaded, and
its import dies with ``operator torchvision::nms does not exist``: two of its Python files describe
operators (``nms``, ``qnms``) that nobody has defined. Nothing here calls them; naming them is all
the import needs.
"""

from __future__ import annotations

import importlib
from typing import Any

# torch drops an operator's name with the Library object that defined it: keep it alive.
_stubs: list[Any] = []


def import_torchvision() -> None:
    """Import torchvision, first naming ``nms`` and ``qnms`` when its own operators are missing.

    Does nothing more than ``import torchvision`` where that works. Raises ImportError when torch
    or torchvision is not installed, and whatever else a broken torchvision raises.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
    else:
        return
    import torch

    if not _stubs:
        make: Any = torch.library.Library
        library = make("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _stubs.append(library)
    importlib.import_module("torchvision")
