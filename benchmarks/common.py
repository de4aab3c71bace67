"""What the benchmarks share: photos to work on, clocks, medians and a line about the machine."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from cirbench import sources
from cirbench.codecs import RGB
from cirbench.samples import sample_source

PHOTO_SIZE = (1356, 2040)  # height, width: a typical DIV2K photo


@dataclass(frozen=True)
class Cost:
    """What one run took: seconds of wall clock, and of CPU in this process and in its children."""

    wall: float
    own: float
    children: float

    @property
    def cpu(self) -> float:
        return self.own + self.children


def measure(work: Callable[[], object]) -> Cost:
    """Run ``work`` once. Children count when they have ended and been waited for."""
    before, start = _cpu(), time.perf_counter()
    work()
    wall = time.perf_counter() - start
    own, children = (after - was for after, was in zip(_cpu(), before, strict=True))
    return Cost(wall, own, children)


def _cpu() -> tuple[float, float]:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own, children = (usage.ru_utime + usage.ru_stime for usage in used)
    return own, children


def alternate(rounds: int, *contestants: Callable[[], object]) -> list[Cost]:
    """Median cost of each contestant; they take turns, so that a busy machine hits all of them."""
    costs: list[list[Cost]] = [[] for _ in contestants]
    for _ in range(rounds):
        for mine, work in zip(costs, contestants, strict=True):
            mine.append(measure(work))
    return [median(mine) for mine in costs]


def median(costs: Sequence[Cost]) -> Cost:
    """Median of every column on its own."""
    middle = (statistics.median(column) for column in zip(*map(_tuple, costs), strict=True))
    return Cost(*middle)


def _tuple(cost: Cost) -> tuple[float, float, float]:
    return cost.wall, cost.own, cost.children


def sample_photos() -> list[tuple[str, RGB]]:
    """(file name, uint8 (H, W, 3) pixels) of the sample photos."""
    return [(image.path, sources.read(image.file).rgb) for image in sources.find(sample_source())]


def mosaics(folder: Path, number: int, copies: int = 1) -> list[Path]:
    """``number`` different 2040x1356 photos, laid out of the sample photos at native resolution.

    Bands of 300 lines, every second piece mirrored; PNGs as Pillow saves them by default, read
    once so that they are in the page cache. Further ``copies`` are hard links.
    """
    folder.mkdir(parents=True, exist_ok=True)
    photos = [rgb for _, rgb in sample_photos()]
    files = []
    for number_ in range(number):
        pieces = count(7 * number_)
        canvas = np.empty((*PHOTO_SIZE, 3), np.uint8)
        for top in range(0, PHOTO_SIZE[0], 300):
            left = 0
            while left < PHOTO_SIZE[1]:
                piece = next(pieces)
                photo = photos[piece % len(photos)]
                start = 97 * piece % (len(photo) - 299)
                band = photo[start : start + 300, :: -1 if piece % 2 else 1]
                place = canvas[top : top + 300, left : left + band.shape[1]]
                place[...] = band[: place.shape[0], : place.shape[1]]
                left += band.shape[1]
        file = folder / f"mosaic{number_:03}.png"
        Image.fromarray(canvas).save(file)
        file.read_bytes()
        files.append(file)
        for copy in range(1, copies):
            files.append(folder / f"mosaic{number_:03}-{copy}.png")
            os.link(file, files[-1])
    return files


@contextlib.contextmanager
def fresh_folders(parent: str | None = None) -> Iterator[Callable[[], Path]]:
    """A maker of new empty folders, all of them gone at the end."""
    with tempfile.TemporaryDirectory(prefix="cirbench-", dir=parent) as top:
        numbers = count()
        yield lambda: Path(top) / f"{next(numbers):03}"


def machine() -> str:
    """One line about where and under which load this ran."""
    load = os.getloadavg()[0]
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, load at the start {load:.1f}, {time.strftime('%Y-%m-%d')}"
    )


def line(label: str, *cells: str) -> None:
    """Print one row of a table."""
    print(f"{label:<34}" + "".join(f"{cell:>14}" for cell in cells), flush=True)
