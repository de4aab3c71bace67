"""Where the data that ships with cirbench lives (``codecs/`` and ``manifests/``)."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def data_dir(name: str) -> Path:
    """Folder ``name`` (``"codecs"`` or ``"manifests"``) of the shipped data.

    A wheel carries it as ``cirbench/_data/<name>``; an editable install reads the checkout's own
    top-level folder. (A top-level Python package called ``codecs`` could never be imported: the
    standard library's wins. So these two folders hold data only.)
    """
    package = Path(str(files("cirbench")))
    installed = package / "_data" / name
    return installed if installed.is_dir() else package.parent / name
