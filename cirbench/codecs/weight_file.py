"""What the learned codecs' readers of weight files share: plain tensors, and reasons to refuse."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def tensors(state: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The named, dense tensors of a state dict; whatever else is in it is left out."""
    plain = (Tensor, torch.nn.Parameter)
    return {
        key: value
        for key, value in state.items()
        if isinstance(key, str) and type(value) in plain and value.layout == torch.strided
    }


def fit(state: Mapping[str, Tensor], path: Path) -> bool:
    """Together they are no larger than their file: a tensor may claim more than is stored of it."""
    return sum(one.numel() * one.element_size() for one in state.values()) <= path.stat().st_size


def are_finite(state: Mapping[str, Tensor]) -> bool:
    """No number is NaN or infinite."""
    return all(bool(torch.isfinite(value).all()) for value in state.values())


def reason(error: Exception) -> str:
    """Why ``torch.load`` gave up, without its advice to trust the file."""
    if name := re.search(r"GLOBAL:? (\S+)", str(error)):
        return f"its pickle asks for {name[1]}, which is not data"
    return f"it cannot be read ({type(error).__name__}: damaged or cut off?)"
