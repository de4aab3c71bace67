"""What is to be built: HQ images, tasks, and how their rows are stored."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from .. import recipe, sources, tiles, weights
from ..backends import THREADS, Backend
from ..errors import CirbenchError
from ..recipe import Task
from ..samples import sample_source
from ..sources import Found, Source
from . import store

HQ_MODES = ("ref", "link", "copy")


@dataclass(frozen=True)
class Request:
    """Everything a build needs to know; the defaults are ``cirbench build`` without arguments.

    Attributes:
        sources: collections of HQ images; empty means the sample photos.
        tasks: what to build of each image.
        recipe: gives tasks their kinds and numbers; recorded in the manifest.
        out: the data set's folder.
        store: ``png``, ``bitstream``, ``bitstream-only``; None keeps the data set's own (``png``).
        hq: ``ref``, ``link``, ``copy``; None keeps the data set's own (``ref``).
        jobs: rows at a time; None is one per core.
        weights: ``auto``, ``published`` or ``mini`` weights for the learned codecs.
        limit: at most so many images of each source.
        max_failures: stop after more failed rows than this.
        rehash: decode and hash every known image again instead of trusting size and time.
        tile: cut photos into square tiles of so many pixels a side; None codes them whole.
        stride: pixels from one tile to the next; None is ``tile``.
        splits: a file with splits or a ratio, see :mod:`cirbench.splits`.
        split_seed: another seed gives another assignment by ratio.
        unnamed: sets only called after their folder; known ones get their known name.
        backend: where rows run.
    """

    sources: Sequence[Source]
    tasks: Sequence[Task]
    recipe: recipe.Recipe
    out: Path = Path("data/cir")
    store: str | None = None
    hq: str | None = None
    jobs: int | None = None
    weights: str = "auto"
    limit: int | None = None
    max_failures: int | None = None
    rehash: bool = False
    tile: int | None = None
    stride: int | None = None
    splits: str | None = None
    split_seed: int = 0
    unnamed: frozenset[str] = frozenset()
    backend: Backend = THREADS

    @property
    def tiling(self) -> tiles.Tiling | None:
        """How photos are cut; None for whole photos. Raises CirbenchError when they cannot be."""
        return tiles.tiling(self.tile, self.stride)

    def __post_init__(self) -> None:
        """Refuse values that are none of the above, in one sentence."""
        choices = (
            ("store", self.store, (None, *store.MODES)),
            ("hq", self.hq, (None, *HQ_MODES)),
            ("weights", self.weights, weights.POLICIES),
            *(("split", source.split, ("", "train", "test")) for source in self.sources),
        )
        for name, value, allowed in choices:
            if value not in allowed:
                legal = ", ".join(filter(None, allowed))
                raise CirbenchError(f"{name} cannot be {value!r}; it is one of {legal}")
        for name, number, least in (
            ("jobs", self.jobs, 1),
            ("limit", self.limit, 1),
            ("max_failures", self.max_failures, 0),
        ):
            if number is not None and number < least:
                raise CirbenchError(f"{name} cannot be {number}; it is at least {least}")
        tiles.tiling(self.tile, self.stride)
        try:
            str(self.out).encode()
        except UnicodeEncodeError as error:
            shown = os.fsencode(self.out).decode(errors="backslashreplace")
            raise CirbenchError(f"--out {shown} is no UTF-8 name; choose another") from error
        if self.splits and any(source.split for source in self.sources):
            raise CirbenchError("--split and --splits contradict each other; give one of them")
        object.__setattr__(self, "out", self.out.expanduser())


def parse_sources(given: Sequence[str], set_name: str | None, split: str | None) -> list[Source]:
    """Sources from ``PATH`` or ``NAME=PATH`` texts; the sample photos when there are none."""
    if not given:
        if set_name or split:
            raise CirbenchError("--set and --split are about a SOURCE; give a folder of photos")
        return [sample_source()]
    found = sources.parse_sources(given, set_name, split)
    for source in found:
        if source.set == "sample" and source.root != sample_source().root:
            raise CirbenchError(
                "the set name 'sample' is that of scikit-image's photos; name yours: "
                f"mine={source.root}"
            )
    return found


def check_sources(request: Request) -> None:
    """Raise CirbenchError for a source that would make HQ images of a data set's LQ images."""
    for source in request.sources:
        if source.files:
            continue
        if sources.is_data_set(source.root):
            raise CirbenchError(
                f"{source.root} is a data set made by cirbench, with LQ images in it; give the "
                "folder of the photos (to go on with a data set, name it with --out)"
            )
        if source.root.resolve() == request.out.resolve():
            raise CirbenchError(
                f"{request.out} is the folder of the photos; give the data set one of its own: "
                f"--out {request.out / 'cir'}"
            )


def find(request: Request) -> list[Found]:
    """All images of all sources. Raises CirbenchError when there are none."""
    found: list[Found] = []
    for source in request.sources:
        mine = list(islice(sources.find(source), request.limit))
        if not mine:
            raise CirbenchError(
                f"{source.root} holds no images (PNG, JPEG, BMP, TIFF, WebP); give photos"
            )
        found += mine
    return found
