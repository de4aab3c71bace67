"""Which checkpoint is meant when nobody says.

A checkpoint is a folder with a ``checkpoint.toml`` that says which restorer reads it
(``model = "..."``), or a file in such a folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from .. import toml
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
    # What training has not renamed yet, or was killed at, ends in .part.
    written = (path for path in runs.rglob(NOTE) if path.parent.suffix != ".part")
    found = (path for path in written if path.is_file())
    notes = sorted(found, key=lambda path: (path.stat().st_mtime_ns, str(path)))
    return Checkpoint(model_of(notes[-1].parent), notes[-1].parent) if notes else None


def shipped() -> Checkpoint | None:
    """The small MoE-DiffIR that comes with cirbench; None where the files were left out."""
    folder = Path(str(files("cirbench.models.moe_diffir"))) / "small"
    return Checkpoint("moe_diffir", folder) if (folder / NOTE).is_file() else None


def default() -> Checkpoint | None:
    """The newest checkpoint below ``runs``, else the one that comes with cirbench.

    Raises CirbenchError when the newest one's ``checkpoint.toml`` cannot be read.
    """
    return newest_checkpoint() or shipped()


def problem(checkpoint: Checkpoint) -> str:
    """Why the shipped checkpoint cannot run here, "" when it can or is another one."""
    needs = ("torch", "diffusers", "transformers")
    missing = [name for name in needs if find_spec(name) is None]
    if checkpoint != shipped() or not missing:
        return ""
    return f"it needs {' and '.join(missing)}; run: pip install 'cirbench[train]'"


def model_of(checkpoint: Path) -> str:
    """Name of the restorer a checkpoint is for.

    Raises CirbenchError when nothing beside the checkpoint says.
    """
    note = checkpoint / NOTE if checkpoint.is_dir() else checkpoint.with_name(NOTE)
    try:
        return str(toml.read(note)["model"])
    except (OSError, KeyError, CirbenchError) as error:
        raise CirbenchError(
            f"{note} does not say which model the checkpoint is for; add --model NAME"
        ) from error
