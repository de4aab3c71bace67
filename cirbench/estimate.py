"""What a build will cost, before it starts: rows, bytes on disk, hours."""

from __future__ import annotations

import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
from PIL import Image

from . import codecs, trial
from .builder import available, settled, store
from .builder.request import Request, check_sources, find
from .builder.row import Target
from .recipe import Task
from .sources import Found
from .tiles import Tiling

_SAMPLED = 200  # image headers read; the rest is taken to be alike
_PNG_BPP = 8.5  # bits per pixel of an LQ photo as PNG, mean over LIVE1 and all tasks
_PNG_SECONDS = 0.03  # per megapixel
_LAST_SECONDS = 0.3  # the manifest, the table and the contact sheet of a few rows
_LARGE_SECONDS, _LARGE_BYTES = 3600, 20e9
DOLLARS = 0.04
"""What an hour of one core is taken to cost: about what clouds ask for a virtual CPU."""


@dataclass(frozen=True)
class Cost:
    """A plan in numbers; rows already built are not taken off.

    Attributes:
        photos: how many.
        images: how many are coded: of photos that are cut, the tiles.
        tasks: those that can run on this machine.
        megapixels: of all coded images together.
        seconds: wall time with the jobs asked for, on a machine as busy as it is now.
        bytes: on disk.
        by_codec: seconds that cores are busy, by codec; other work on the machine adds nothing.
        other: the same for starting Python, reading and hashing the photos, and what comes last.
        tried: photos of which pieces were coded to measure the times; 0: they are from a table.
    """

    photos: int
    images: int
    tasks: Sequence[Task]
    megapixels: float
    seconds: float
    bytes: float
    by_codec: dict[str, float]
    other: float = 0.0
    tried: int = 0

    @property
    def core_seconds(self) -> float:
        """How long one core would be busy."""
        return sum(self.by_codec.values()) + self.other

    @property
    def is_large(self) -> bool:
        """Worth asking before starting."""
        return self.seconds > _LARGE_SECONDS or self.bytes > _LARGE_BYTES


def of(request: Request, measure: bool = False) -> Cost:
    """Estimate a build from image headers and what the codecs cost.

    Args:
        request: the build.
        measure: code pieces of a few photos, half a minute at most; else the costs are those of
            one machine (``[encoder.*.estimate]`` in ``codecs/*.toml``), an order of magnitude.
    """
    check_sources(request)
    found = find(request)
    here = available.check(request.tasks, request.weights)
    store_mode, hq = settled.recorded_modes(request.out)
    tasks, mode = here.tasks, request.store or store_mode or "png"
    images, megapixels, of_photos = _size(found, request.tiling)
    table = [_per_megapixel(task, mode) for task in tasks]
    jobs = request.jobs or joblib.cpu_count()
    prices: Sequence[trial.Price | None] = [None] * len(tasks)
    reading, fixed, tried = trial.Seconds(), 0.0, 0
    if measure:
        started = time.process_time()  # as the build's process will
        target = Target(request.out, mode, "ref", request.recipe.name, here.versions)
        costs = [price.megapixel.cpu for price in table]
        measured = trial.prices(found, tasks, costs, target, jobs, request.tile)
        prices, tried = measured.tasks, measured.photos
        # Photos are read once for all their tasks; and once more before they are cut.
        reading = measured.reading * (of_photos * (2 if request.tiling else 1))
        fixed = started + _LAST_SECONDS if tried else 0.0
    wall, by_codec = reading.wall, defaultdict[str, float](float)
    size = float(sum(image.size for image in found)) if (request.hq or hq) == "copy" else 0.0
    for task, known, price in zip(tasks, table, prices, strict=True):
        price = price or known
        spent = price.of(images, megapixels)
        wall, by_codec[task.codec] = wall + spent.wall, by_codec[task.codec] + spent.cpu
        size += price.bytes_per_megapixel * megapixels
    wall = fixed + wall / min(jobs, max(images * len(tasks), 1))
    other = fixed + reading.cpu
    return Cost(len(found), images, tasks, megapixels, wall, size, dict(by_codec), other, tried)


def _per_megapixel(task: Task, mode: str) -> trial.Price:
    """What a task cost on one core of one machine."""
    codec = codecs.get(task.codec)
    seconds, bpp = codec.estimate(task.settings)
    if store.keeps_pixels(mode, codec):
        seconds, bpp = seconds + _PNG_SECONDS, bpp + _PNG_BPP
    each = trial.Seconds(seconds, seconds)
    return trial.Price(trial.Seconds(), trial.Seconds(), each, 1e6 / 8 * bpp)


def _size(found: Sequence[Found], tiling: Tiling | None) -> tuple[int, float, float]:
    """(images to code, their megapixels, the photos' megapixels)."""
    step = max(1, len(found) // _SAMPLED)
    sizes = [(0, 0) if image.problem else _shape(image.file) for image in found[::step]]
    sampled = [
        (1, width * height) if tiling is None or not width * height else tiling.size(width, height)
        for width, height in sizes
    ]
    scale = len(found) / len(sampled)
    images, pixels = (sum(one[column] for one in sampled) for column in (0, 1))
    photos = sum(width * height for width, height in sizes)
    return round(images * scale), pixels * scale / 1e6, photos * scale / 1e6


def _shape(file: Path) -> tuple[int, int]:
    """(width, height) by the file's header; 0 for one that becomes an error row, at no cost."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(file) as image:
                return image.width, image.height
        except Exception:  # whatever Pillow's many readers throw at bytes that are no image
            return 0, 0


def describe(request: Request, cost: Cost) -> str:
    """The plan as text for ``--dry-run``."""
    jobs = request.jobs or joblib.cpu_count()
    source = f"measured here on pieces of {cost.tried} photos"
    if not cost.tried:
        source = "by a table of another machine; --dry-run measures on this one"
    kinds = Counter(task.kind for task in cost.tasks)
    images = f"{cost.images} images"
    if request.tiling:
        about = "about " if cost.photos > _SAMPLED else ""
        images = f"{cost.photos} images cut into {about}{cost.images} tiles"
    lines = [
        f"{images} ({cost.megapixels:.1f} MP) x {len(cost.tasks)} tasks "
        f"= {cost.images * len(cost.tasks)} rows",
        "tasks: " + ", ".join(f"{count} {kind}" for kind, count in kinds.items()),
        "       " + " ".join(task.key for task in cost.tasks),
        f"disk:  about {_bytes(cost.bytes)} in {request.out}",
        f"time:  about {_duration(cost.seconds)} with {jobs} jobs, {source}",
    ]
    total = sum(cost.by_codec.values()) or 1.0
    hours = cost.core_seconds / 3600
    lines.append(
        f"       {hours:.2g} core-hours, ${DOLLARS * hours:.2f} at ${DOLLARS:.2f} per core-hour"
    )
    shares = sorted(cost.by_codec.items(), key=lambda item: -item[1])
    lines.append("       " + ", ".join(f"{name} {spent / total:.0%}" for name, spent in shares))
    return "\n".join(lines)


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
