"""Optimisers and the learning rate over a stage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .settings import StageSettings


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal (Jordan et al. 2024), for inner matrices.

    A convolution's kernel counts as a matrix, outputs x (inputs, height, width). In short runs it
    gets further than Adam.

    Args:
        parameters: of two or more dimensions.
        lr: learning rate.
        momentum: of the gradient's running mean.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(mean, group["momentum"]).flatten(1))
                p.add_(update.view_as(p), alpha=-group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly the orthogonal factor of ``matrix``: five steps of a quintic Newton-Schulz iteration,
    which bring all singular values into about 0.7 to 1.2."""
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (2.0315 * square @ square - 4.775 * square) @ x
    x = x if wide else x.T
    return x * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5


def is_inner(p: nn.Parameter) -> bool:
    """Matrices and kernels, but for those that take or give pixels, and depth-wise ones."""
    return p.dim() in (2, 4) and min(p.shape[:2]) > 3


def build(parameters: list[nn.Parameter], settings: StageSettings) -> list[torch.optim.Optimizer]:
    """The optimisers of a stage; together they hold every parameter once."""
    inner = [p for p in parameters if settings.optimizer == "muon" and is_inner(p)]
    known = {id(p) for p in inner}
    rest = [p for p in parameters if id(p) not in known]
    made: list[torch.optim.Optimizer] = []
    if inner:
        made.append(Muon(inner, settings.muon_lr))
    if rest:
        made.append(torch.optim.Adam(rest, settings.lr, settings.betas))
    for one in made:
        for group in one.param_groups:
            group["base_lr"] = group["lr"]
    return made


def set_rate(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """Set every learning rate to ``factor`` times the one it was built with."""
    for one in optimizers:
        for group in one.param_groups:
            group["lr"] = group["base_lr"] * factor


def rate(step: int, settings: StageSettings) -> float:
    """Factor of the learning rate at ``step`` (0 is the first): warm-up, constant, linear decay."""
    up = min(1.0, (step + 1) / settings.warmup) if settings.warmup else 1.0
    falling = settings.decay * settings.steps
    down = min(1.0, (settings.steps - step) / falling) if falling >= 1 else 1.0
    return up * down
