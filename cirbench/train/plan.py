"""Which stages a run trains, checked before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import CirbenchError, UnavailableError
from ..suggest import hint
from .settings import TERMS
from .trainable import Stage, Trainable

if TYPE_CHECKING:
    from .run import Request


def chosen_stages(request: Request, trainable: Trainable) -> list[Stage]:
    """The stages to run.

    Raises CirbenchError when there is none, for a stage or a term of a loss that does not exist;
    UnavailableError for weights.
    """
    known = [one.name for one in trainable.stages]
    for name in request.settings.stages:
        if name not in known:
            raise CirbenchError(f"there is no stage {name!r}; {hint(name, known)}")
    there = [one for one in trainable.stages if one.name in request.settings.stages]
    plan = [one for one in there if one.number in request.stages]
    if not plan:
        has = ", ".join(sorted({str(one.number) for one in there}))
        raise CirbenchError(f"this preset has no such stage; it has {has}")
    for stage in plan:
        _check_loss(stage.name, request.settings.stages[stage.name].loss)
        text = trainable.problem(stage, request.settings.stages[stage.name])
        if text and not request.random_weights:
            raise UnavailableError(f"stage {stage.name}: {text}")
    return plan


def _check_loss(stage: str, loss: Mapping[str, float]) -> None:
    """Raises CirbenchError for a term that the stage has not, or when it needs one and has none."""
    terms = TERMS.get(stage, ())
    for name in loss:
        if name not in terms:
            others = f"it is one of {', '.join(terms)}" if terms else "this stage has none to weigh"
            raise CirbenchError(f"there is no stages.{stage}.loss.{name}; {others}")
    if terms and not any(weight for name, weight in loss.items() if name != "kl"):
        raise CirbenchError(
            f"stages.{stage}.loss compares no pictures; set e.g. stages.{stage}.loss.pixels=1"
        )
