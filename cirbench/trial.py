"""Time a few rows of a plan on this machine: what a row costs, and what a megapixel."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import joblib
from threadpoolctl import threadpool_limits

from . import codecs
from .builder.journal import ImageRecord
from .builder.plan import Work
from .builder.row import Result, Target, hash_image, make
from .recipe import Task
from .sources import Found
from .tiles import Box

PHOTOS = 6
SECONDS = 20.0
"""No further photo is tried once this time has passed."""

_SMALL, _LARGE = 64, 384  # sides of the pieces that are coded
_LONGEST_ROW = 1.5  # seconds that a piece of a slow encoder may take
_DECODED = 1 / 16  # of the rows of slow decoders


@dataclass(frozen=True)
class Price:
    """What the rows of one task cost here.

    Attributes:
        once: seconds for the first row on top of its own: loading weights, mostly.
        row: seconds of every row, however small: starting ffmpeg, mostly.
        megapixel: seconds of every megapixel.
        bytes_per_megapixel: of bitstream and, where it is kept, PNG.
    """

    once: float
    row: float
    megapixel: float
    bytes_per_megapixel: float


@dataclass(frozen=True)
class _Timing:
    megapixels: float
    seconds: float
    bytes: float


@dataclass(frozen=True)
class Prices:
    """What a plan costs here.

    Attributes:
        tasks: one price for each task; None where every try failed.
        reading: seconds to read, decode and hash a megapixel of HQ.
        photos: how many were tried.
    """

    tasks: tuple[Price | None, ...]
    reading: float
    photos: int


def prices(
    found: Sequence[Found],
    tasks: Sequence[Task],
    costs: Sequence[float],
    target: Target,
    jobs: int,
    side: int | None,
) -> Prices:
    """Code pieces of a few photos with every task, as many at a time as the build would.

    A small and a large piece of each photo: their sizes tell the price of a row from that of a
    megapixel, and several photos make up for what is in them.

    Args:
        found: the plan's photos; some are picked, evenly spread.
        tasks: all of them.
        costs: seconds per megapixel of every task, roughly: slow ones get smaller pieces.
        target: how rows are stored; its root is not touched.
        jobs: rows at a time.
        side: of the tiles that photos are cut into, None for whole photos.
    """
    trials: list[list[list[_Timing]]] = [[] for _ in tasks]
    reading, start, tried = [], time.perf_counter(), 0
    parallel = joblib.Parallel(n_jobs=jobs, backend="threading")
    with tempfile.TemporaryDirectory(prefix="cirbench-") as folder, threadpool_limits(1):
        here = Target(Path(folder), target.store, "ref", target.recipe, target.versions)
        for photo, image, seconds in _readable(_spread(found)):
            reading.append(1e6 * seconds / (image.width * image.height))
            small = [_box(image, min(_SMALL, side or _SMALL))] * len(tasks)
            large = [_box(image, min(_large(cost), side or _LARGE)) for cost in costs]
            _coded(photo, tasks[0], small[0], here)  # decodes the photo, for all that follow
            pieces = (small, large) if tried else (small, small, large)  # first, weights are loaded
            calls = zip(tasks, *pieces, strict=True)
            timings = parallel(
                joblib.delayed(_all_coded)(photo, task, boxes, here) for task, *boxes in calls
            )
            for mine, row_timings in zip(trials, timings, strict=True):
                if row_timings is not None:
                    mine.append(row_timings)
            tried += 1
            if time.perf_counter() - start > SECONDS:
                break
    return Prices(tuple(map(_price, trials)), fmean(reading) if reading else 0.0, tried)


def _spread(found: Sequence[Found]) -> Sequence[Found]:
    """At most PHOTOS of them, the middle ones of as many equal parts."""
    count = min(PHOTOS, len(found))
    return [found[(2 * part + 1) * len(found) // (2 * count)] for part in range(count)]


def _readable(photos: Sequence[Found]) -> Iterator[tuple[Found, ImageRecord, float]]:
    """The photos that can be used, and the seconds that reading them took."""
    for photo in photos:
        start = time.perf_counter()
        image = hash_image(photo, photo.path)
        if isinstance(image, ImageRecord):
            yield photo, image, time.perf_counter() - start


def _large(cost: float) -> int:
    """Side of the large piece for a task of so many seconds per megapixel."""
    return max(2 * _SMALL, min(_LARGE, int((1e6 * _LONGEST_ROW / max(cost, 1e-9)) ** 0.5)))


def _box(image: ImageRecord, side: int) -> Box:
    """The middle of a photo, at most ``side`` pixels wide and high."""
    width, height = min(side, image.width), min(side, image.height)
    return Box((image.width - width) // 2, (image.height - height) // 2, width, height)


def _all_coded(
    photo: Found, task: Task, boxes: Sequence[Box], target: Target
) -> list[_Timing] | None:
    """One timing for each piece, in turn; None when one failed."""
    timings = []
    for box in boxes:
        timing = _coded(photo, task, box, target)
        if timing is None:
            return None
        timings.append(timing)
    return timings


def _coded(photo: Found, task: Task, box: Box, target: Target) -> _Timing | None:
    start = time.perf_counter()
    row = _row(make(Work(photo, "trial", task, box, _SMALL), target))
    seconds = time.perf_counter() - start
    if row["status"] == "error":
        return None
    if codecs.get(task.codec).decode_cost == "slow":  # this row may be one that is decoded, or not
        seconds += _DECODED * row["encode_seconds"] - (row["decode_seconds"] or 0)
    size: int = row["bitstream_bytes"]
    if row["lq_path"]:
        size += (target.root / row["lq_path"]).stat().st_size
    return _Timing(box.width * box.height / 1e6, seconds, size)


def _row(result: Result) -> dict[str, Any]:
    return {"lq_path": None, "decode_seconds": None} | result.row


def _price(trials: Sequence[Sequence[_Timing]]) -> Price | None:
    """A straight line through the mean of the small pieces and that of the large ones."""
    if not trials:
        return None
    small, large = (_mean([trial[place] for trial in trials]) for place in (-2, -1))
    once = max(0.0, trials[0][0].seconds - small.seconds)
    size = large.bytes / large.megapixels
    rise = large.megapixels - small.megapixels
    if rise < small.megapixels:  # all pieces are about as large: so are the photos
        return Price(once, large.seconds, 0.0, size)
    slope = max(0.0, (large.seconds - small.seconds) / rise)
    return Price(once, max(0.0, small.seconds - slope * small.megapixels), slope, size)


def _mean(timings: Sequence[_Timing]) -> _Timing:
    return _Timing(*(fmean(column) for column in zip(*map(astuple, timings), strict=True)))
