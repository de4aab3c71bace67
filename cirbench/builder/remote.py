"""The worker's side of a build, where that is another process, often on another machine."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from .. import codecs
from ..backends import attempts
from ..errors import CirbenchError
from ..sources import Found
from . import plan, row
from .plan import Work
from .row import RowResult, Target

_AT_RISK = 1.0  # seconds of work that are lost with a worker, besides the row it was busy with
_MEGAPIXELS = 3.0  # of a photo, for that: its size is not known before it is read
_UNUSABLE = "unusable"

_notes: Path | None = None
"""Notes of the build this process worked for last."""


def pieces(work: Iterable[Work]) -> Iterator[list[Work]]:
    """Rows that travel together: of one photo, which then is decoded once, and soon done."""
    piece: list[Work] = []
    spent = 0.0
    for one in work:
        seconds = codecs.get(one.task.codec).estimate(one.task.settings).seconds * _MEGAPIXELS
        if piece and (one.found is not piece[0].found or spent + seconds > _AT_RISK):
            yield piece
            piece, spent = [], 0.0
        piece.append(one)
        spent += seconds
    if piece:
        yield piece


def key(work: Work) -> str:
    """What notes about a row are called by; its id is not known before the photo is read."""
    found, task = work.found, work.task
    return "\0".join((found.set, found.path, work.tile, task.key, task.settings_json))


def rows(piece: Sequence[Work], target: Target, notes: Path) -> list[RowResult]:
    """Make the rows of one photo.

    Args:
        piece: rows of one photo.
        target: with an absolute path.
        notes: a folder that all workers see.

    Raises CirbenchError where the photo's folder cannot be seen or the codecs are of another
    version than where the build was begun, and what :func:`.row.make` raises.
    """
    global _notes
    if _notes != notes:
        row.forget_images(4)  # a file may have changed behind an equal size and time
        _notes = notes
    see(piece[0].found, notes)
    return [_row(work, target, notes) for work in piece]


def _row(work: Work, target: Target, notes: Path) -> RowResult:
    found, task = work.found, work.task
    settings = tuple(task.settings.items())
    _check_versions(task.codec, settings, target.versions[task.codec, task.settings["encoder"]])
    given_up = notes / f"{attempts.name(plan.image_error_id(found.set, found.path))}.{_UNUSABLE}"

    def make() -> RowResult:
        return row.make(work, target)

    def refuse() -> RowResult:
        return row.make(work, target, refused=f"{task.codec}: {attempts.LOST}")

    def unusable() -> RowResult:
        """Not even its photo can be read, nor could it for any other task."""
        given_up.touch()
        return row.unusable(work, f"{found.path}: {attempts.LOST}")

    if given_up.exists():
        return unusable()
    result = attempts.run(notes, key(work), (make, make, make, refuse, unusable))
    _check_weights(result.row, target)
    return result


def see(found: Found, notes: Path | None) -> None:
    """Raise CirbenchError in a worker that does not even see the folder of an image."""
    if notes is not None and not found.problem and not found.file.parent.is_dir():
        raise attempts.unseen(found.file.parent)


def _check_weights(made: dict[str, Any], target: Target) -> None:
    used = made.get("weights_sha256")
    if not used:  # also a photo that cannot be used, which has no codec
        return
    wanted = target.weights.get((made["codec"], made["level"], made["settings"]), used)
    if used != wanted:
        raise CirbenchError(
            f"the worker on {socket.gethostname()} has other weights for {made['codec']} "
            f"{made['level']} (sha256 {used[:12]}) than this machine ({wanted[:12]}); put the same "
            "file on both"
        )


@cache
def _check_versions(
    codec: str, settings: tuple[tuple[str, Any], ...], wanted: tuple[str, str]
) -> None:
    probe = codecs.get(codec).probe(dict(settings))
    if not probe.available:
        raise CirbenchError(
            f"{codec} cannot run on the worker {socket.gethostname()}: {probe.hint}"
        )
    if (probe.version, probe.decoder) != wanted:
        raise CirbenchError(
            f"the worker on {socket.gethostname()} has {probe.version} and {probe.decoder} for "
            f"{codec}, this machine {' and '.join(wanted)}; install the same on both"
        )
