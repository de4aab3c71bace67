"""Time a few rows of a plan on this machine: what a row costs, and what a megapixel."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import joblib
from threadpoolctl import threadpool_limits

from . import codecs
from .builder.journal import ImageRecord
from .builder.plan import Work, digest
from .builder.row import Target, forget_images, hash_image, make
from .recipe import Task
from .sources import Found
from .tiles import Box

PHOTOS = 6
MOST_PHOTOS = 32  # where as many rows are made at a time
SECONDS = 20.0
"""No further photo is tried once this time has passed."""

_SMALL, _LARGE = 64, 384  # sides of the pieces that are coded
_LONGEST_ROW = 1.5  # seconds that a piece of a slow encoder may take
_DECODED = 1 / 16  # of the rows of slow decoders


@dataclass(frozen=True)
class Seconds:
    """What some work took.

    Attributes:
        wall: as a clock on the wall has it; other work on the machine makes it more.
        cpu: what cores were busy with it, those of processes that it started included.
    """

    wall: float = 0.0
    cpu: float = 0.0

    @classmethod
    def now(cls) -> Seconds:
        """Two readings of the clocks, less each other, are what was in between."""
        ours, others = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        used = ours.ru_utime + ours.ru_stime + others.ru_utime + others.ru_stime
        return cls(time.perf_counter(), used)

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)

    def __mul__(self, factor: float) -> Seconds:
        return Seconds(self.wall * factor, self.cpu * factor)

    def above(self, other: Seconds) -> Seconds:
        """How much more than ``other`` it is; measured times vary, but none is negative."""
        return Seconds(max(0.0, self.wall - other.wall), max(0.0, self.cpu - other.cpu))


@dataclass(frozen=True)
class Price:
    """What the rows of one task cost here.

    Attributes:
        once: the first row on top of its own: loading weights, mostly.
        row: every row, however small: starting ffmpeg, mostly.
        megapixel: every megapixel.
        bytes_per_megapixel: of bitstream and, where it is kept, PNG.
    """

    once: Seconds
    row: Seconds
    megapixel: Seconds
    bytes_per_megapixel: float

    def of(self, rows: int, megapixels: float) -> Seconds:
        """What so many rows, so large all together, cost one after the other."""
        return self.once + self.row * rows + self.megapixel * megapixels


@dataclass(frozen=True)
class _Timing:
    megapixels: float
    spent: Seconds
    bytes: float


@dataclass(frozen=True)
class Prices:
    """What a plan costs here.

    Attributes:
        tasks: one price for each task; None where every try failed.
        reading: to read, decode and hash a megapixel of HQ.
        photos: how many were tried.
    """

    tasks: tuple[Price | None, ...]
    reading: Seconds
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
    megapixel, and several photos make up for what is in them. Rows that run at a time are of one
    task and one size: only so can CPU time, which is counted by process, be told apart.

    Args:
        found: the plan's photos; some are picked, evenly spread.
        tasks: all of them.
        costs: seconds per megapixel of every task, roughly: slow ones get smaller pieces.
        target: how rows are stored; its root is not touched.
        jobs: rows at a time.
        side: of the tiles that photos are cut into, None for whole photos.
    """
    sides = [[min(one, side or one) for one in (_SMALL, _large(cost))] for cost in costs]
    first: list[_Timing | None] = []
    trials: list[list[list[_Timing]]] = [[] for _ in tasks]
    start, reading, tried = time.perf_counter(), Seconds(), 0
    photos = _spread(found, max(PHOTOS, min(jobs, MOST_PHOTOS)))
    forget_images(len(photos))
    with tempfile.TemporaryDirectory(prefix="cirbench-") as folder, threadpool_limits(1):
        here = Target(Path(folder), target.store, "ref", target.recipe, target.versions)
        for place in range(0, len(photos), jobs):
            pictures = []
            for photo, image, spent in _readable(photos[place : place + jobs]):
                reading += spent * (1e6 / (image.width * image.height))
                pictures.append((photo, image))
            if pictures and not first:  # these load the weights, and what reads them
                calls = zip(tasks, sides, strict=True)
                first = [_timing(pictures[:1], task, of[0], here) for task, of in calls]
            for photo, image in pictures:  # decodes it, for all that follow
                _row(photo, tasks[0], _box(image, _SMALL), here)
            for mine, task, small_and_large in zip(trials, tasks, sides, strict=True):
                timings = [_timing(pictures, task, one, here) for one in small_and_large]
                whole = [timing for timing in timings if timing is not None]
                if len(whole) == len(timings):
                    mine.append(whole)
            tried += len(pictures)
            if time.perf_counter() - start > SECONDS:
                break
    first = first or [None] * len(tasks)
    priced = (_price(*of_task) for of_task in zip(first, trials, strict=True))
    return Prices(tuple(priced), reading * (1 / max(tried, 1)), tried)


def _spread(found: Sequence[Found], most: int) -> Sequence[Found]:
    """At most ``most`` of them, the middle ones of as many equal parts."""
    count = min(most, len(found))
    return [found[(2 * part + 1) * len(found) // (2 * count)] for part in range(count)]


def _readable(photos: Sequence[Found]) -> Iterator[tuple[Found, ImageRecord, Seconds]]:
    """The photos that can be used, and what reading them took."""
    for photo in photos:
        start = Seconds.now()
        image = hash_image(photo, photo.path)
        if isinstance(image, ImageRecord):
            yield photo, image, Seconds.now().above(start)


def _large(cost: float) -> int:
    """Side of the large piece for a task of so many seconds per megapixel."""
    return max(2 * _SMALL, min(_LARGE, int((1e6 * _LONGEST_ROW / max(cost, 1e-9)) ** 0.5)))


def _box(image: ImageRecord, side: int) -> Box:
    """The middle of a photo, at most ``side`` pixels wide and high."""
    width, height = min(side, image.width), min(side, image.height)
    return Box((image.width - width) // 2, (image.height - height) // 2, width, height)


def _timing(
    pictures: Sequence[tuple[Found, ImageRecord]], task: Task, side: int, target: Target
) -> _Timing | None:
    """The mean of rows made at a time, one of each picture; None when one fails, or none is there.

    A slow decoder runs for some rows and not for others: each row is given its share.
    """
    parallel = joblib.Parallel(n_jobs=max(1, len(pictures)), backend="threading")
    boxes = [_box(image, side) for _, image in pictures]
    start = Seconds.now()
    rows = parallel(
        joblib.delayed(_row)(photo, task, box, target)
        for (photo, _), box in zip(pictures, boxes, strict=True)
    )
    cpu = Seconds.now().above(start).cpu
    if not rows or any(row["status"] == "error" for row, _ in rows):
        return None
    measured = fmean(seconds for _, seconds in rows)
    usual = measured
    if codecs.get(task.codec).decode_cost == "slow":
        usual += fmean(_DECODED * row["encode_seconds"] - row["decode_seconds"] for row, _ in rows)
    spent = Seconds(usual, cpu / len(rows) * usual / measured)
    pixels = fmean(box.width * box.height for box in boxes)
    return _Timing(pixels / 1e6, spent, fmean(_bytes(row, target) for row, _ in rows))


def _row(photo: Found, task: Task, box: Box, target: Target) -> tuple[dict[str, Any], float]:
    """A finished row, and its seconds."""
    start = time.perf_counter()
    row = make(Work(photo, digest(photo.path), task, box, _SMALL), target).row
    seconds = time.perf_counter() - start
    return {"lq_path": None} | row | {"decode_seconds": row.get("decode_seconds") or 0.0}, seconds


def _bytes(row: dict[str, Any], target: Target) -> int:
    size: int = row["bitstream_bytes"]
    return size + ((target.root / row["lq_path"]).stat().st_size if row["lq_path"] else 0)


def _price(first: _Timing | None, trials: Sequence[Sequence[_Timing]]) -> Price | None:
    """A straight line through the mean of the small pieces and that of the large ones.

    ``first`` is the very first small piece: what it takes above the others is there once.
    """
    if first is None or not trials:
        return None
    small, large = (_mean(of_one_size) for of_one_size in zip(*trials, strict=True))
    once = first.spent.above(small.spent)
    size = large.bytes / large.megapixels
    rise = large.megapixels - small.megapixels
    if rise < small.megapixels:  # all pieces are about as large: so are the photos
        return Price(once, large.spent, Seconds(), size)
    slope = large.spent.above(small.spent) * (1 / rise)
    return Price(once, small.spent.above(slope * small.megapixels), slope, size)


def _mean(timings: Sequence[_Timing]) -> _Timing:
    spent = sum((timing.spent for timing in timings), Seconds()) * (1 / len(timings))
    pixels = fmean(timing.megapixels for timing in timings)
    return _Timing(pixels, spent, fmean(timing.bytes for timing in timings))
