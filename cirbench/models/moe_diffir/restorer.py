"""MoE-DiffIR behind the contract of :class:`cirbench.models.restorer.Restorer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import CirbenchError, UnavailableError
from ...suggest import hint
from ..restorer import Batch, Info
from .config import from_dict

if TYPE_CHECKING:
    from .model import MoEDiffIR

CODE = "1"
"""Raised whenever the same weights would give other pixels."""

_PRIOR = ("vae", "unet", "prior")
OPTIONS = ("sampler.kind", "sampler.steps", "compensator.weight", "tile", "overlap")
"""Settings of the model that may differ from those it was trained with."""


class Restorer:
    """A trained model.

    Args:
        model: the model, on its device.
        checkpoint: hash of its weights.
        trained_on: folder of the data set it was trained on, "" when unknown.
        stage: the stage that it comes from. After stage I the compensator is not used: stage II
            trains it.
    """

    def __init__(
        self, model: MoEDiffIR, checkpoint: str = "", trained_on: str = "", stage: str = ""
    ) -> None:
        self.model, self._checkpoint, self._trained_on = model, checkpoint, trained_on
        self.compensates = stage != "prompt"

    def restore(self, lq: Batch, *, seeds: Sequence[int], prompt: str | None = None) -> Batch:
        """Restore float32 (B, 3, H, W) in [0, 1] of any size.

        ``prompt`` is ignored: what the UNet is told comes from the image (paper 3.3).
        """
        import torch

        from .restore import restore

        image = torch.from_numpy(np.ascontiguousarray(lq, np.float32))
        weight = None if self.compensates else 0.0
        return np.asarray(restore(self.model, image, seeds=seeds, weight=weight).numpy())

    def loads(self, lq: Batch) -> list[Batch]:
        """Share of tokens that chose each prompt, (B, N) per scale; see :func:`.restore.loads`."""
        import torch

        from .restore import loads

        image = torch.from_numpy(np.ascontiguousarray(lq, np.float32))
        return [np.asarray(one.numpy(), np.float32) for one in loads(self.model, image)]

    def info(self) -> Info:
        """Name, parameters of the whole model, checkpoint, and what else decides its pixels."""
        config = self.model.config
        sampler, weight = config.sampler, self.model.compensator.weight
        version = f"{CODE}, {sampler.kind} {sampler.steps}, tile {config.tile}/{config.overlap}"
        version += "" if weight == 1 else f", compensator {weight:g}"
        return Info(
            "moe_diffir",
            parameters=sum(one.numel() for one in self.model.parameters()),
            checkpoint=self._checkpoint,
            version=version if self.compensates else f"{version}, plain decoder",
            trained_on=self._trained_on,
            remark="" if self.compensates else "after stage I, decoded without the compensator",
        )


class Compensator:
    """Stage II's decoder alone, on the LQ image's own latents: a baseline without diffusion.

    Args:
        whole: the restorer whose decoder it is.
    """

    def __init__(self, whole: Restorer) -> None:
        self._whole = whole

    def restore(self, lq: Batch, *, seeds: Sequence[int], prompt: str | None = None) -> Batch:
        """Decode float32 (B, 3, H, W) in [0, 1]; seeds and prompt change nothing."""
        import torch

        from .restore import compensated

        image = torch.from_numpy(np.ascontiguousarray(lq, np.float32))
        return np.asarray(compensated(self._whole.model, image).numpy(), np.float32)

    def info(self) -> Info:
        """As the whole model, under a name of its own."""
        return replace(self._whole.info(), name="moe_diffir_compensator")


def create_compensator(
    checkpoint: Path | None, device: str | None, options: Mapping[str, Any] | None = None
) -> Any:
    """The factory of :class:`Compensator`.

    Raises CirbenchError for a checkpoint of stage I, and what :func:`create` raises.
    """
    whole = create(checkpoint, device, options)
    if not whole.compensates:
        raise CirbenchError(
            f"{checkpoint} is of stage I, which trains no compensator; train stage 2, too"
        )
    return Compensator(whole)


def create(
    checkpoint: Path | None, device: str | None, options: Mapping[str, Any] | None = None
) -> Any:
    """The factory that the registry calls.

    Args:
        checkpoint: None for the newest below ``runs``, else the one that comes with cirbench.
        device: None for the best one.
        options: instead of the checkpoint's own: any of :data:`OPTIONS`.

    Raises CirbenchError when there is none, or it or an option cannot be used; UnavailableError
    when a package is missing.
    """
    if checkpoint is None:
        from ...evaluation.checkpoints import default

        found = default()
        if found is None or found.model != "moe_diffir":
            raise CirbenchError("moe_diffir needs a checkpoint; train one, or give its path")
        checkpoint = found.path
    try:
        import torch

        from .checkpoint import digest, load, load_with, metadata
    except ImportError as error:
        raise UnavailableError(
            f"moe_diffir needs {error.name}; run: pip install 'cirbench[train]'"
        ) from error
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    facts = metadata(checkpoint)
    if "random_weights" in facts:
        raise CirbenchError(
            f"{checkpoint} was trained with --random-weights to measure cost; what it restores "
            "means nothing, train one on real weights"
        )
    if facts.get("stage") in _PRIOR:
        raise CirbenchError(
            f"{checkpoint} is of stage 0 ({facts['stage']}), which restores nothing yet; go on "
            "with cirbench train --stage 1,2"
        )
    external = facts.get("external")
    model = load_with(checkpoint, external) if external else load(checkpoint)
    _set(model, options or {})
    # The layout that convolutions are fastest in: on CPUs it saves a quarter of the time.
    model = model.to(name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Restorer(model, digest(checkpoint), facts.get("trained_on", ""), facts.get("stage", ""))


def _set(model: MoEDiffIR, options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in OPTIONS:
            raise CirbenchError(f"moe_diffir has no option {name!r}; {hint(name, OPTIONS)}")
    model.config = from_dict(options, model.config)
    model.compensator.weight = model.config.compensator.weight
