"""Which preset this machine can run, and what the largest one would take."""

from __future__ import annotations

import os
from dataclasses import dataclass

PAPER_GB = 20
"""GPU memory that ``paper`` needs, in GB: see docs/train.md."""


@dataclass(frozen=True)
class Choice:
    """A preset, and lines for people that say why."""

    preset: str
    lines: tuple[str, ...]


def choose() -> Choice:
    """``paper`` where there is a large GPU and its weights are here, else ``tiny``."""
    machine, large = _machine()
    missing = _missing()
    if large and not missing:
        return Choice("paper", (f"preset paper: {machine}, and all its weights are here",))
    lines = [f"preset tiny: {machine}"]
    if not large:
        lines.append(f"  paper would take a GPU with {PAPER_GB} GB of memory or more, and:")
    else:
        lines.append("  paper would take:")
    lines += [f"  - {one}" for one in missing]
    return Choice("tiny", tuple(lines))


def _machine() -> tuple[str, bool]:
    """What computes here, and whether it is large enough for ``paper``."""
    import torch

    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        memory = facts.total_memory / 1e9
        return f"{facts.name}, {memory:.0f} GB", memory >= PAPER_GB
    if torch.backends.mps.is_available():
        return "an Apple GPU", False
    return f"no GPU, {os.cpu_count()} CPU cores", False


def _missing() -> list[str]:
    """What ``paper`` lacks here, each with how to get it."""
    from ..models.moe_diffir import locate, losses, presets
    from . import settings

    preset = settings.preset("paper")
    needs = locate.needs(presets.preset(preset.size), preset.external)
    found = [f"{one.title} ({one.get})" for one in needs if not one.found]
    lpips = losses.problem(preset.stages["compensator"].loss, random=False)
    return [*found, *([lpips] if lpips else [])]
