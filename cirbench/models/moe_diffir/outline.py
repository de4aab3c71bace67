"""The size of a model, told from its configuration before any memory is taken for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules import module as registration

from ...errors import CirbenchError
from .config import ModelConfig
from .model import MoEDiffIR
from .parts import parts

_MOST_MODULES = 10_000
"""Far more than any model here has; each takes time to make, even without its numbers."""


def outline(config: ModelConfig, source: str) -> dict[str, int]:
    """Numbers in each part (parameters and buffers) of the model of ``config``.

    Raises CirbenchError naming ``source`` for a configuration that makes no model.
    """
    try:
        with torch.device("meta"), _counted():
            model = MoEDiffIR(config)
    except CirbenchError as error:
        raise CirbenchError(f"{source} is damaged: {error}") from error
    except Exception as error:  # what torch and diffusers raise at sizes that do not go together
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CirbenchError(f"{source}: its config makes no model ({lines[0][:200]})") from error
    return {
        name: sum(one.numel() for one in part.state_dict().values())
        for name, part in parts(model).items()
    }


@contextmanager
def _counted() -> Iterator[None]:
    """Stop a model that grows beyond all sense while it is made in this thread."""
    thread, count = threading.get_ident(), 0

    def add(*_: Any) -> None:
        nonlocal count
        count += threading.get_ident() == thread
        if count > _MOST_MODULES:
            raise CirbenchError(f"its config asks for more than {_MOST_MODULES} layers")

    handle = registration.register_module_module_registration_hook(add)
    try:
        yield
    finally:
        handle.remove()
