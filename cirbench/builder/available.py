"""Which of the wanted tasks can run on this machine: encoders found, weights chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .. import codecs, weights
from ..errors import CirbenchError, UnavailableError
from ..recipe import Task

Versions = dict[tuple[str, str], tuple[str, str]]
"""(encoder, decoder) version by (codec name, encoder name)."""

Weights = dict[tuple[str, str, str], str]
"""SHA-256 of the weights by (codec, level, settings as canonical JSON)."""


@dataclass
class Available:
    """What can be built.

    Attributes:
        tasks: the tasks whose encoder and weights are here, with the kind of weights settled.
        versions: exact implementations.
        weights: files of the learned codecs.
        missing: why the other tasks are left out, one sentence per codec.
        remarks: what the user has to know about the weights in use.
    """

    tasks: list[Task] = field(default_factory=list)
    versions: Versions = field(default_factory=dict)
    weights: Weights = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def check(tasks: Sequence[Task], policy: str = "auto") -> Available:
    """Sort ``tasks`` into those that can run here and those that cannot.

    Args:
        tasks: what is wanted.
        policy: ``published`` or ``mini`` weights for the learned codecs; ``auto`` takes published
            ones where every task of the codec has them, else mini ones, and says so. One codec
            never gets some of each.

    Raises CirbenchError when nothing can run.
    """
    result = Available()
    for name in dict.fromkeys(task.codec for task in tasks):
        mine = [task for task in tasks if task.codec == name]
        try:
            if "weights" in mine[0].settings:
                mine = _with_weights(mine, policy, result)
            for task in mine:
                key = (name, task.settings["encoder"])
                if key not in result.versions:
                    result.versions[key] = _probe(task)
        except UnavailableError as error:
            result.missing[name] = str(error)
            continue
        result.tasks += mine
    if not result.tasks:
        raise CirbenchError("; ".join(result.missing.values()) or "there is nothing to build")
    return result


def _probe(task: Task) -> tuple[str, str]:
    probe = codecs.get(task.codec).probe(task.settings)
    if not probe.available:
        raise UnavailableError(probe.hint)
    return probe.version, probe.decoder


def _with_weights(tasks: Sequence[Task], policy: str, result: Available) -> list[Task]:
    """The tasks of one learned codec with ``published`` or ``mini`` in their settings."""
    remarks = result.remarks
    _probe_software(tasks[0])
    kinds = ("published", "mini") if policy == "auto" else (policy,)
    problem: UnavailableError | None = None
    for kind in kinds:
        try:
            found = [weights.resolve(t.codec, t.label, kind, model=_model(t)) for t in tasks]
        except UnavailableError as error:
            problem = problem or error  # the published files are what to ask for
            continue
        name = tasks[0].codec
        if kind == "mini":
            remarks.append(
                f"{name} uses the MINI weights that ship with cirbench, not the published ones: "
                "its rows are a variant of the tasks (weights=mini); see cirbench weights list"
            )
        for one in found:
            if one.genuine is False:
                remarks.append(f"{name}: {one.path} is NOT the published file (sha256 differs)")
        settled = [task.with_settings(weights=kind) for task in tasks]
        for task, one in zip(settled, found, strict=True):
            result.weights[task.codec, task.label, task.settings_json] = one.sha256
        return settled
    assert problem is not None
    raise problem


def _model(task: Task) -> str | None:
    architecture = task.settings.get("architecture")
    return f"cheng2020-{architecture}" if architecture else None


def _probe_software(task: Task) -> None:
    """Raise UnavailableError without torch or the device, before asking for weights."""
    from ..codecs import learned

    probe = learned.probe(task.settings, codecs.get(task.codec).title)
    if not probe.available:
        raise UnavailableError(probe.hint)
