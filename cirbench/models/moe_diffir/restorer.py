"""MoE-DiffIR behind the contract of :class:`cirbench.models.restorer.Restorer`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import CirbenchError, UnavailableError
from ..restorer import Batch, Info

if TYPE_CHECKING:
    from .model import MoEDiffIR

CODE = "1"
"""Raised whenever the same weights would give other pixels."""


class Restorer:
    """A trained model.

    Args:
        model: the model, on its device.
        checkpoint: hash of its weights.
        trained_on: folder of the data set it was trained on, "" when unknown.
    """

    def __init__(self, model: MoEDiffIR, checkpoint: str = "", trained_on: str = "") -> None:
        self.model, self._checkpoint, self._trained_on = model, checkpoint, trained_on

    def restore(self, lq: Batch, *, seeds: Sequence[int], prompt: str | None = None) -> Batch:
        """Restore float32 (B, 3, H, W) in [0, 1] of any size.

        ``prompt`` is ignored: what the UNet is told comes from the image (paper 3.3).
        """
        import torch

        from .restore import restore

        image = torch.from_numpy(np.ascontiguousarray(lq, np.float32))
        return np.asarray(restore(self.model, image, seeds=seeds).numpy(), np.float32)

    def loads(self, lq: Batch) -> list[Batch]:
        """Share of tokens that chose each prompt, (B, N) per scale; see :func:`.restore.loads`."""
        import torch

        from .restore import loads

        image = torch.from_numpy(np.ascontiguousarray(lq, np.float32))
        return [np.asarray(one.numpy(), np.float32) for one in loads(self.model, image)]

    def info(self) -> Info:
        """Name, parameters of the whole model, checkpoint, and what else decides its pixels."""
        config = self.model.config
        sampler, tile = config.sampler, f"tile {config.tile}/{config.overlap}"
        return Info(
            "moe_diffir",
            parameters=sum(one.numel() for one in self.model.parameters()),
            checkpoint=self._checkpoint,
            version=f"{CODE}, {sampler.kind} {sampler.steps}, {tile}",
            trained_on=self._trained_on,
        )


def create(checkpoint: Path | None, device: str | None) -> Any:
    """The factory that the registry calls.

    Raises CirbenchError without a checkpoint, or with one that cannot be used; UnavailableError
    when a package is missing.
    """
    if checkpoint is None:
        raise CirbenchError("moe_diffir needs a checkpoint; train one, or give its path")
    try:
        import torch

        from .checkpoint import digest, load, metadata
    except ImportError as error:
        raise UnavailableError(
            f"moe_diffir needs {error.name}; run: pip install 'cirbench[train]'"
        ) from error
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = load(checkpoint).to(name)
    return Restorer(model, digest(checkpoint), metadata(checkpoint).get("trained_on", ""))
