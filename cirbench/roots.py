"""Where a data set's HQ images are: root names to folders (``roots.toml``, beside the manifest).

The manifest names roots, never folders, so that it can be moved and published; ``roots.toml`` is
this machine's own and not part of the data set.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from . import toml
from .errors import CirbenchError
from .samples import sample_source

FILE_NAME = "roots.toml"


def read(folder: Path) -> dict[str, Path]:
    """The roots recorded beside a manifest. Raises CirbenchError for a broken file."""
    path = folder / FILE_NAME
    try:
        raw = toml.read(path)
    except FileNotFoundError:
        return {}
    entries = raw.get("roots", {})
    if not isinstance(entries, dict) or not all(isinstance(text, str) for text in entries.values()):
        raise CirbenchError(f'{path}: [roots] must hold lines like name = "/folder"')
    return {name: Path(text) for name, text in entries.items()}


def text(roots: Mapping[str, Path]) -> str:
    """The contents of ``roots.toml`` for these roots."""
    lines = ["# Where this machine keeps the HQ images the manifest refers to.", "[roots]"]
    lines += [f"{_quoted(name)} = {_quoted(str(path))}" for name, path in sorted(roots.items())]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """``text`` as a TOML basic string: JSON's, without surrogate pairs, and with DEL escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def resolve(folder: Path, name: str, given: Mapping[str, Path] | None = None) -> Path:
    """Folder of the root called ``name``.

    In this order: ``given`` (``--hq-root``), ``<data set>/hq/<name>`` (made by ``--hq link`` or
    ``copy``), ``roots.toml``, and for ``sample`` the photos inside scikit-image's wheel.

    Raises CirbenchError saying how to name the folder.
    """
    if given and name in given:
        return Path(given[name])
    own = folder / "hq" / name
    if os.path.isdir(own):  # unlike Path.is_dir, also for a name that cannot be
        return own
    recorded = read(folder)
    if name in recorded:
        return recorded[name]
    if name == "sample":
        return sample_source().root
    raise CirbenchError(
        f"{folder} does not say where its HQ images of {name!r} are; add --hq-root {name}=FOLDER"
    )
