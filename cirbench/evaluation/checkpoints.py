"""Which checkpoint is meant when nobody says.

A checkpoint is a folder with a ``checkpoint.toml`` that says which restorer reads it
(``model = "..."``), or a file in such a folder.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from ..errors import CirbenchError

RUNS = Path("runs")
NOTE = "checkpoint.toml"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's path, and the name of the restorer it is for."""

    model: str
    path: Path


def newest_checkpoint(runs: Path = RUNS) -> Checkpoint | None:
    """The checkpoint below ``runs`` that was finished last; None when there is none.

    Raises CirbenchError when its ``checkpoint.toml`` cannot be read.
    """
    notes = sorted(runs.rglob(NOTE), key=lambda path: (path.stat().st_mtime_ns, str(path)))
    return Checkpoint(model_of(notes[-1].parent), notes[-1].parent) if notes else None


def model_of(checkpoint: Path) -> str:
    """Name of the restorer a checkpoint is for.

    Raises CirbenchError when nothing beside the checkpoint says.
    """
    note = checkpoint / NOTE if checkpoint.is_dir() else checkpoint.with_name(NOTE)
    try:
        return str(tomllib.loads(note.read_text(encoding="utf-8"))["model"])
    except (OSError, KeyError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CirbenchError(
            f"{note} does not say which model the checkpoint is for; add --model NAME"
        ) from error
