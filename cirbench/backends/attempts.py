"""Notes of workers about what they have begun, so that a row that kills them is found out.

A cluster runs a row again when its worker is lost. Nobody there knows which of the rows a worker
had was to blame, so each worker puts an empty file into a folder that all share before it begins a
row, and removes it afterwards. Files that are there before are workers that did not come back.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from ..errors import CirbenchError

Value = TypeVar("Value")

LIMIT = 3
"""So many lost workers, and a row is given up."""

LOST = f"{LIMIT} workers were lost while they worked on it (out of memory?); see their logs"
"""What is said of a row that was given up; no more than that, so that it is always the same."""


def run(folder: Path | None, key: str, steps: Sequence[Callable[[], Value]]) -> Value:
    """Call the first of ``steps`` that no worker was lost in.

    Args:
        folder: where the notes are; None takes none.
        key: what is worked on; a text of any length.
        steps: usually the same one three times, then what to do instead. The last one is called
            without a note: it must be harmless.

    Raises whatever the step raises, and CirbenchError where the folder cannot be seen.
    """
    if folder is None:
        return steps[0]()
    notes = [folder / f"{name(key)}.{turn}" for turn in range(len(steps) - 1)]
    with _GATE.alone() if notes[0].exists() else _GATE.together():
        turn = _begin(notes)
        try:
            return steps[turn]()
        finally:
            for note in notes[: turn + 1]:
                with contextlib.suppress(OSError):
                    note.unlink(missing_ok=True)


def name(key: str) -> str:
    """File name, without its turn, of the notes about ``key``."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:32]


def begun(folder: Path | None, key: str) -> bool:
    """Whether a worker has begun ``key`` and not ended it."""
    return folder is not None and (folder / f"{name(key)}.0").exists()


def _begin(notes: Sequence[Path]) -> int:
    """Take the first note that is not there yet; its number, or how many there are."""
    for turn, note in enumerate(notes):
        try:
            os.close(os.open(note, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            continue
        except FileNotFoundError:
            raise unseen(note.parent) from None
        except OSError as error:
            raise CirbenchError(
                f"{socket.gethostname()} cannot write to {note.parent} ({error.strerror}); "
                "workers need to"
            ) from error
        return turn
    return len(notes)


def unseen(folder: Path) -> CirbenchError:
    """What to say where a worker does not see ``folder``."""
    return CirbenchError(
        f"the worker on {socket.gethostname()} does not see {folder}; the data set and its sources "
        "have to be on a file system that all machines share, under the same path"
    )


class _Gate:
    """Lets rows of one process in together, but one that a worker was lost in only alone.

    Otherwise the rows beside it would be lost as often, and given up with it.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._waiting = 0
        self._closed = False

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not (self._closed or self._waiting))
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: not (self._closed or self._inside))
            self._waiting -= 1
            self._closed = True
        try:
            yield
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()


_GATE = _Gate()
