"""The restorer that changes nothing: the baseline that every other one has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import CirbenchError
from .restorer import Batch, Info


class Identity:
    """Returns the LQ image as it is."""

    def __init__(self, checkpoint: Path | None = None, device: str | None = None) -> None:
        if checkpoint is not None:
            raise CirbenchError("the restorer 'identity' takes no checkpoint; leave it out")

    def restore(self, lq: Batch, *, seeds: Sequence[int], prompt: str | None = None) -> Batch:
        """The input, (B, 3, H, W)."""
        return lq

    def info(self) -> Info:
        """No parameters."""
        return Info("identity", thread_safe=True)
