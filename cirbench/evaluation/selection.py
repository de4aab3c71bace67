"""Which models an evaluation scores: the unrestored LQ, a folder of outputs, a restorer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from .. import check
from ..errors import CirbenchError
from ..manifest import Manifest
from ..models import restorer
from . import checkpoints, match, methods
from .journal import Journal
from .methods import Method
from .request import Request


def select(
    chosen: Request,
    manifest: Manifest,
    rows: Sequence[methods.Row],
    journal: Journal,
    out: Path,
    say: Callable[[str], None],
) -> tuple[list[Method], list[str]]:
    """The unrestored LQ, then what was asked for; and remarks about them.

    Without any wish that is the newest checkpoint of ``cirbench train``, else the small model that
    comes with cirbench, where it can run; ``say`` is told which.

    Raises CirbenchError when outputs or a restorer cannot be used, or names do not fit.
    """
    scored, remarks = [methods.unrestored(manifest)], []
    if chosen.outputs:
        one = chosen.outputs
        matched = match.match(one.folder, rows, one.pattern, one.table)
        remarks += matched.notes
        label = chosen.name or one.folder.resolve().name
        scored.append(methods.folder(label, manifest, one.folder, matched))
    name, checkpoint = chosen.model, chosen.checkpoint
    if checkpoint and not name:
        name = checkpoints.model_of(checkpoint)
    if not name and not chosen.outputs:
        found = checkpoints.default()
        if found and (text := checkpoints.problem(found)):
            remarks.append(f"left out, the small {found.model} that comes with cirbench: {text}")
        elif found:
            name, checkpoint = found.model, found.path
            say(f"checkpoint: {checkpoint} ({name})")
    if name:
        made = restorer.get(name, checkpoint, chosen.device, chosen.options)
        info = made.info()
        remarks += _guard(info, manifest)
        label = chosen.name or info.name
        remarks += [f"{label}: {info.remark}"] if info.remark else []
        place = checkpoint.expanduser().absolute() if checkpoint else None
        options = tuple(chosen.options.items())
        same = methods.Same(name, place, chosen.device, options, info)
        scored.append(
            methods.cached(label, manifest, made, same, out, journal.restored, journal.remember)
        )
    methods.check_labels(scored)
    labels = [method.label for method in scored]
    if chosen.against not in labels:
        raise CirbenchError(
            f"--against {chosen.against!r} is none of the models; there is {', '.join(labels)}"
        )
    return scored, remarks


def _guard(info: restorer.Info, manifest: Manifest) -> list[str]:
    """Warnings where the rows to score do not fit what a checkpoint was trained on."""
    if not info.trained_on:
        return []
    try:
        trained = Manifest.open(info.trained_on)
    except CirbenchError as error:
        return [f"{info.name}: what it was trained on cannot be compared with the test: {error}"]
    found = check.check(trained, manifest)
    return [f"{info.name}, trained on {info.trained_on}: {problem}" for problem in found.problems]
