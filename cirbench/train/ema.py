"""The moving average of the trained weights (EMA), which is what a checkpoint is used by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from .settings import StageSettings


def build(parameters: list[nn.Parameter], chosen: StageSettings) -> Any:
    """diffusers' ``EMAModel`` of a stage's parameters; None when it is off."""
    if not chosen.ema:
        return None
    from diffusers.training_utils import EMAModel

    return EMAModel(parameters, decay=chosen.ema, use_ema_warmup=False)


@contextmanager
def averaged(average: Any, parameters: list[nn.Parameter]) -> Iterator[None]:
    """The moving average in the model's place."""
    if average is None:
        yield
        return
    average.store(parameters)
    average.copy_to(parameters)
    try:
        yield
    finally:
        average.restore(parameters)


def use(average: Any, parameters: list[nn.Parameter]) -> None:
    """Leave the moving average in the model's place."""
    if average is not None:
        average.copy_to(parameters)
