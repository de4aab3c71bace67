"""Which images are shown, and their pixels: lossless crops, within a budget of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from ..codecs import RGB
from ..errors import CirbenchError
from ..evaluation.results import LQ
from .drawing import busiest
from .html_data import Array, Data, Measure

SIDES = (384, 320, 256)
"""Sides of the square crops, the first that fits the budget is taken."""

_OVERVIEW = 168


@dataclass(frozen=True)
class Case:
    """One image to show: its rank among its codec's, and its place in :class:`Data`."""

    codec: str
    rank: str
    place: int


@dataclass(frozen=True)
class Picture:
    """The views of one case.

    Attributes:
        case: what is shown.
        box: the crop in the photo: left, top, width, height in pixels.
        size: width and height of the photo.
        views: ``"HQ"``, ``"LQ"`` and the models' names, with data URIs of lossless WebPs.
        overview: data URI of the whole HQ scaled down; ``""`` where the crop is all of it.
    """

    case: Case
    box: tuple[int, int, int, int]
    size: tuple[int, int]
    views: tuple[tuple[str, str], ...]
    overview: str

    @property
    def bytes(self) -> int:
        """What it adds to the page."""
        return len(self.overview) + sum(len(uri) for _, uri in self.views)


@dataclass
class Pictures:
    """What is shown, at which crop size, and what is not and why."""

    shown: list[Picture] = field(default_factory=list)
    side: int = SIDES[0]
    dropped: list[Case] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def choose(data: Data, measure: Measure) -> list[Case]:
    """Best, median and worst image of every codec.

    Ranked by the gain of the first model over the LQ; without a model, by the LQ's score. Images
    without a finite one are left out; equal ones keep the manifest's order.
    """
    if data.models:
        merit = data.gains(measure, data.models[0])
    else:
        scores = data.values(measure, LQ)
        merit = np.where(np.isfinite(scores), scores if measure.higher else -scores, np.nan)
    found = []
    for codec in data.codecs:
        index = np.sort(data.of(codec))
        index = index[np.isfinite(merit[index])]
        order = index[np.argsort(merit[index], kind="stable")]
        ranks = {"worst": 0, "median": (len(order) - 1) // 2, "best": len(order) - 1}
        taken: set[int] = set()
        for rank in ("best", "median", "worst"):  # with fewer than three images, no image twice
            if len(order) and ranks[rank] not in taken:
                taken.add(ranks[rank])
                found.append(Case(codec, rank, int(order[ranks[rank]])))
    return found


def load(data: Data, cases: Sequence[Case], budget: int) -> Pictures:
    """Read, cut and encode, in at most ``budget`` bytes.

    The crops shrink first (:data:`SIDES`); when even the smallest do not fit, worsts are kept as
    far as there is room, then bests, then medians. What cannot be read is told in ``problems``.
    """
    found = Pictures()
    pixels = []
    for case in cases:
        try:
            pixels.append((case, _read(data, case)))
        except CirbenchError as error:
            found.problems.append(f"not shown: {error}")
    for side in SIDES:
        found.side = side
        found.shown = []
        for case, views in pixels:
            found.shown.append(_picture(case, views, side))
            if side != SIDES[-1] and _total(found.shown) > budget:
                break
        else:
            if _total(found.shown) <= budget:
                break
    order = ("worst", "best", "median")
    kept: list[Picture] = []
    for one in sorted(found.shown, key=lambda picture: order.index(picture.case.rank)):
        if _total(kept) + one.bytes <= budget:
            kept.append(one)
        else:
            found.dropped.append(one.case)
    found.shown = [one for one in found.shown if one in kept]
    return found


def _total(pictures: Sequence[Picture]) -> int:
    return sum(one.bytes for one in pictures)


def _read(data: Data, case: Case) -> list[tuple[str, RGB]]:
    """HQ, LQ and every model's output: the largest crop of each, the whole HQ first."""
    results = data.results
    row_id = data.rows["row_id"][case.place]
    row: dict[str, Any] = next(iter(results.manifest.filter(row_id=row_id)))
    hq = results.manifest.hq(row)
    views = [("HQ", hq), (LQ, results.manifest.lq(row))]
    for model in data.models:
        restored = results.restored(model, row)
        if restored is not None and restored.shape == hq.shape:
            views.append((model, restored))
    return views


def _picture(case: Case, views: Sequence[tuple[str, RGB]], side: int) -> Picture:
    hq = views[0][1]
    rows, columns = busiest(hq, side)
    box = (
        columns.start,
        rows.start,
        columns.stop - columns.start,
        rows.stop - rows.start,
    )
    height, width = hq.shape[:2]
    whole = box[2:] == (width, height)
    encoded = tuple((name, lossless(rgb[rows, columns])) for name, rgb in views)
    return Picture(case, box, (width, height), encoded, "" if whole else _thumbnail(hq))


def lossless(rgb: Array | RGB) -> str:
    """A data URI of exactly these pixels: a lossless WebP, a quarter smaller than a PNG."""
    data = imagecodecs.webp_encode(np.ascontiguousarray(rgb), lossless=True, level=75, method=3)
    return _uri(bytes(data))


def _thumbnail(rgb: RGB) -> str:
    picture = Image.fromarray(rgb)
    picture.thumbnail((_OVERVIEW, _OVERVIEW), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=80)
    return _uri(buffer.getvalue())


def _uri(data: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(data).decode('ascii')}"
