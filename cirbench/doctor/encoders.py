"""Every encoder codes a small picture, through a real build with all of its checks."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np

from .. import codecs, info, recipe
from ..builder.build import run
from ..builder.request import Request
from ..codecs import RGB
from ..errors import CirbenchError
from ..manifest import Manifest
from ..sources import Source
from .disk import PREFIX
from .finding import NOTE, OK, PROBLEM, Finding


def check(place: Path) -> Iterator[Finding]:
    """One finding per encoder of every codec; data sets of one row are made in ``place``."""
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=place) as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        (photos / "picture.png").write_bytes(imagecodecs.png_encode(_picture()))
        for number, one in enumerate(info.encoders()):
            yield _check(one, photos, Path(folder) / str(number))


def _picture() -> RGB:
    """Slopes, edges and noise, uint8 (64, 96, 3)."""
    y, x = np.mgrid[:64, :96]
    noise = np.random.default_rng(0).integers(0, 32, (64, 96, 3))
    planes = np.stack([2 * x, 3 * y, 120 * ((x // 16 + y // 16) % 2)], axis=-1)
    rgb: RGB = (planes + noise).clip(0, 255).astype(np.uint8)
    return rgb


def _check(one: info.Encoder, photos: Path, out: Path) -> Finding:
    name = one.codec if one.is_default else f"{one.codec} {one.name}"
    if not one.probe.available:
        if not one.is_default:
            text = f"not here; only needed for --encoder {one.name}"
            return Finding(NOTE, name, text, one.probe.hint)
        learned = "weights" in one.settings
        return Finding(NOTE if learned else PROBLEM, name, "cannot run", one.probe.hint)
    start = time.perf_counter()
    try:
        problem = _code(one, photos, out)
    except CirbenchError as error:
        problem = str(error)
    except Exception as error:  # a broken library: the other encoders are to be looked at, too
        problem = f"{type(error).__name__}: {error}"
    if problem:
        todo = "install its package again; cirbench info names the version and the package"
        return Finding(PROBLEM, name, problem, todo)
    return Finding(OK, name, f"{one.probe.version}, {time.perf_counter() - start:.1f} s")


def _code(one: info.Encoder, photos: Path, out: Path) -> str:
    """Build the picture at the codec's middle level; returns what went wrong, or ``""``."""
    chosen = recipe.load("paper")
    levels = codecs.get(one.codec).levels
    level = str(levels[len(levels) // 2])
    tasks = recipe.select(chosen, [one.codec], {"": [level]}, encoder=one.name)
    weights = str(one.settings.get("weights", "auto"))
    run(Request([Source("doctor", photos, "")], tasks, chosen, out, jobs=1, weights=weights))
    return next((str(row["error"]) for row in Manifest.open(out) if row["error"]), "")
