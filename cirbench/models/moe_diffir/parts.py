"""Which parts a model has, and which are trained in which stage.

Stage 0 makes the prior that Stable Diffusion and CLIP are in ``paper``. Stage I trains everything
that is MoE-DiffIR's own, the visual-to-text adapter included (the release freezes it again by
accident). Stage II trains the compensator only (paper 3.4).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

STAGES: dict[int, tuple[str, ...]] = {
    0: ("vae", "unet", "null_context", "prior", "visual", "v2t"),
    1: ("prompt_module", "spade", "enhancer", "v2t"),
    2: ("compensator",),
}


@dataclass(frozen=True)
class PartCount:
    """A part's name and numbers of parameters: all, and those that are trained now."""

    name: str
    parameters: int
    trained: int


def parts(model: nn.Module) -> dict[str, nn.Module]:
    """The parts that this model (its ablation) has, by name."""
    return dict(model.named_children())


def trainable(model: nn.Module, stage: int) -> tuple[str, ...]:
    """Names of the parts trained in ``stage`` (0, 1 or 2), as far as this model has them."""
    there = parts(model)
    return tuple(name for name in STAGES[stage] if name in there)


def set_stage(model: Any, stage: int | None) -> list[nn.Parameter]:
    """Freeze everything but the parts of ``stage``; None freezes all. See :func:`train_only`."""
    return train_only(model, () if stage is None else trainable(model, stage))


def train_only(model: Any, names: Iterable[str]) -> list[nn.Parameter]:
    """Freeze everything but the parts called ``names``; those the model lacks do not count.

    Frozen parts also stay in evaluation mode (batch statistics, router noise) whatever
    ``model.train()`` says.

    Returns the trained parameters.
    """
    there = parts(model)
    trained = tuple(name for name in names if name in there)
    for name, part in there.items():
        part.requires_grad_(name in trained)
    model.trained_parts = trained
    model.train(model.training)
    return [one for one in model.parameters() if one.requires_grad]


def counts(model: nn.Module) -> list[PartCount]:
    """Parameters of each part."""
    return [
        PartCount(name, _count(part.parameters()), _count(part.parameters(), trained=True))
        for name, part in parts(model).items()
    ]


def table(found: Iterable[PartCount]) -> str:
    """The counts as text, a line for each part and one for the sum."""
    rows = list(found)
    rows.append(
        PartCount("all", sum(row.parameters for row in rows), sum(row.trained for row in rows))
    )
    width = max(len(row.name) for row in rows)
    lines = [f"{'part':<{width}}  {'parameters':>13}  {'trained':>13}"]
    lines += [f"{row.name:<{width}}  {row.parameters:>13,}  {row.trained:>13,}" for row in rows]
    return "\n".join(lines)


def _count(parameters: Iterable[nn.Parameter], trained: bool = False) -> int:
    return sum(one.numel() for one in parameters if one.requires_grad or not trained)
