"""CLIP-IQA and MANIQA by the package pyiqa, where the user installed it.

pyiqa is PolyForm-Noncommercial since April 2026, so it is in no extra of cirbench; it downloads its
own weights the first time (its licence and theirs are the user's to accept).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codecs.torch_compat import import_torchvision
from ..errors import UnavailableError
from . import networks
from .base import Image, Memo, Metric


def problem(title: str) -> str:
    """``""`` when pyiqa is installed."""
    if importlib.util.find_spec("pyiqa"):
        return ""
    return (
        f"{title} needs pyiqa, whose licence (PolyForm-Noncommercial) forbids commercial use; if"
        " that suits you, run: pip install pyiqa"
    )


@lru_cache(maxsize=2)
def model(name: str, device: str) -> Any:
    """pyiqa's metric ``name``. Raises UnavailableError when it cannot be made."""
    import_torchvision()
    import pyiqa
    import torch

    try:
        return pyiqa.create_metric(name, device=torch.device(device))
    except Exception as error:  # mostly a download that failed
        raise UnavailableError(f"pyiqa cannot make {name}: {error}") from error


def score(
    restored: Sequence[Image], hq: Image | None, memo: Memo, *, name: str, title: str
) -> NDArray[np.float64]:
    """Values of pyiqa's no-reference metric ``name`` for B 8-bit RGB images; (B,). HQ is not used.

    Raises UnavailableError when pyiqa is missing or cannot get its weights.
    """
    if text := problem(title):
        raise UnavailableError(text)
    import torch

    network = model(name, networks.device(memo))
    with torch.inference_mode():
        scores = [float(network(networks.tensor(image, memo))) for image in restored]
    return np.array(scores, np.float64)


def _metric(name: str, title: str, theirs: str, doc: str) -> Metric:
    function: Callable[..., NDArray[np.float64]] = partial(score, name=theirs, title=title)
    return Metric(
        name=name,
        title=title,
        better="higher",
        unit="",
        digits=4,
        per="image",
        reference=False,
        protocols=("native-rgb", "paper-256"),
        problem=partial(problem, title),
        score=function,
        doc=doc,
    )


CLIP_IQA = _metric(
    "clip-iqa", "CLIP-IQA", "clipiqa", "Wang et al. 2023, pyiqa's clipiqa (CLIP RN50); 0..1"
)
MANIQA = _metric(
    "maniqa", "MANIQA", "maniqa", "Yang et al. 2022, pyiqa's maniqa (trained on KonIQ-10k); 0..1"
)
