"""The sample set: the colour photographs that scikit-image's wheel ships.

What is in it, by whom, under which licence and in which split is data:
``manifests/sets/sample.toml``.
"""

from __future__ import annotations

import tomllib
from importlib.util import find_spec
from pathlib import Path

from .errors import UnavailableError
from .resources import data_dir
from .sources import Source


def sample_source() -> Source:
    """The sample photos as a source called "sample", each with its fixed split.

    Raises UnavailableError without scikit-image, which is looked up but never imported.
    """
    spec = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise UnavailableError(
            "the sample photos are part of scikit-image, which is not installed; "
            "run: pip install scikit-image"
        )
    text = (data_dir("manifests") / "sets" / "sample.toml").read_text(encoding="utf-8")
    photos = tomllib.loads(text)["photo"]
    root = Path(spec.submodule_search_locations[0]).absolute() / "data"
    return Source("sample", root, "", tuple((photo["file"], photo["split"]) for photo in photos))
