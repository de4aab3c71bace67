"""Ctrl-C and SIGTERM: asked once, answered after the step, by all processes together."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def stopping() -> Iterator[list[int]]:
    """The first Ctrl-C or SIGTERM only asks; it is answered after the step. The second one ends."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    old = {one: signal.signal(one, ask) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for one, handler in old.items():
            signal.signal(one, handler)


def anywhere(asked: list[int], accelerator: Any) -> bool:
    """Whether any process was asked to stop: all stop together."""
    if accelerator.num_processes == 1:
        return bool(asked)
    mine = torch.tensor([len(asked)], device=accelerator.device)
    return bool(accelerator.reduce(mine, "sum").item())
