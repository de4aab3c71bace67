"""JPEG and WebP: ``cirbench build`` against the usual script, side by side.

    python benchmarks/still_codecs.py [--photos 8] [--rounds 3] [--codec jpeg,webp] [--jobs 1,2]

N photos of 2040x1356 (PNG, in the page cache), QF 5, 10 and 15. The usual script is what people
write with Pillow, for every photo and every level: open the PNG and convert it to RGB, save it as
JPEG or WebP (Pillow's default options, the level as quality) in memory, open that and convert it
to RGB, save it as PNG with Pillow's default options, and print the PSNR of two float64 numpy
arrays. It keeps no bitstream, no hash and no record.

cirbench does all it always does: plan, encode, decode, prove the level from the bitstream, hash HQ,
LQ and bitstream, PSNR on RGB and on Y, store, journal, manifest; into a new folder each time.
``bitstream`` and ``png`` are its --store modes; both are compared with the same script, which
always writes PNG. "script, no PNG" is the script without that step, for orientation.

Imports count for neither. The contestants take turns; medians of wall and CPU seconds. With 2 jobs
the script gets 2 processes, started before the clock.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from common import Cost, alternate, fresh_folders, line, machine, mosaics
from PIL import Image

import cirbench
from cirbench import manifest
from cirbench.builder import row, store
from cirbench.builder.journal import Journal
from cirbench.codecs import jpeg, webp

QUALITIES = (5, 10, 15)
TARGETS = {("jpeg", "bitstream"): 8.0, ("jpeg", "png"): 2.5, ("webp", "bitstream"): 2.5}


def usual_script(photo: Path, folder: Path | None, codec: str) -> list[float]:
    """The script's inner loop for one photo; without a folder it writes no PNG."""
    psnrs = []
    for quality in QUALITIES:
        hq = Image.open(photo).convert("RGB")
        coded = BytesIO()
        hq.save(coded, codec, quality=quality)
        lq = Image.open(coded).convert("RGB")
        if folder:
            lq.save(folder / f"{photo.stem}_{quality}.png")
        error = np.asarray(hq, np.float64) - np.asarray(lq, np.float64)
        psnrs.append(10 * np.log10(255**2 / np.mean(error**2)))
    return psnrs


def run_script(
    pool: Executor | None, photos: Sequence[Path], folder: Path | None, codec: str
) -> None:
    """The script over all photos, in this process or in the pool's."""
    if folder:
        folder.mkdir()
    work = partial(usual_script, folder=folder, codec=codec)
    list(pool.map(work, photos) if pool else map(work, photos))


def build(photos: Sequence[Path], codec: str, out: Path, mode: str, jobs: int) -> None:
    """cirbench over the same photos."""
    folder = photos[0].parent
    result = cirbench.build(
        folder, codec=codec, quality=QUALITIES, out=out, store_mode=mode, jobs=jobs
    )
    assert result.made == len(photos) * len(QUALITIES) and not result.failed


def compare(photos: Sequence[Path], codec: str, jobs: int, rounds: int) -> None:
    """Print one block of the table."""
    with fresh_folders() as new, ExitStack() as stack:
        pool = stack.enter_context(ProcessPoolExecutor(jobs)) if jobs > 1 else None
        if pool:  # starts all processes
            list(pool.map(time.sleep, [0.2] * jobs))
        contestants: list[Callable[[], object]] = [
            lambda: run_script(pool, photos, new(), codec),
            lambda: run_script(pool, photos, None, codec),
            lambda: build(photos, codec, new(), "bitstream", jobs),
            lambda: build(photos, codec, new(), "png", jobs),
        ]
        contestants[2]()  # imports and caches
        script, bare, *ours = alternate(rounds, *contestants)
    rows = len(photos) * len(QUALITIES)
    line(f"{codec}, {jobs} jobs", "ms/row", "ratio (wall)", "ratio (CPU)", "target")
    for label, cost, target in (
        ("usual script", script, None),
        ("usual script, no PNG", bare, None),
        ("cirbench --store bitstream", ours[0], TARGETS.get((codec, "bitstream"))),
        ("cirbench --store png", ours[1], TARGETS.get((codec, "png"))),
    ):
        # A pool's processes are children that end after the clock: no CPU time for them.
        cpu = f"{script.cpu / cost.cpu:.2f}x" if jobs == 1 else ""
        wanted = f">= {target:g}x" if target else ""
        line(f"  {label}", f"{_ms(cost, rows):.1f}", f"{script.wall / cost.wall:.2f}x", cpu, wanted)


def _ms(cost: Cost, rows: int) -> float:
    return 1000 * cost.wall / rows


PARTS: tuple[tuple[str, Any, str], ...] = (
    ("read HQ", row.sources, "read"),
    ("hash pixels", store, "pixel_sha256"),
    ("encode", jpeg, "encode"),
    ("encode", webp, "encode"),
    ("decode", jpeg, "decode"),
    ("decode", webp, "decode"),
    ("PSNR", row, "psnr_pair"),
    ("check level", jpeg, "level_of"),
    ("check level", webp, "level_of"),
    ("hash bitstream", store, "sha256"),
    ("make PNG", store, "encode_png"),
    ("write files", store, "write"),
    ("journal", Journal, "add"),
    ("make the manifest", manifest, "write"),
)


@contextmanager
def instrumented(spent: Counter[str]) -> Iterator[None]:
    """Count CPU seconds of this thread inside each of PARTS."""

    def timed(label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent[label] += time.thread_time() - start

        return wrapper

    with ExitStack() as stack:
        for label, where, name in PARTS:
            function = getattr(where, name)
            stack.enter_context(patch.object(where, name, timed(label, function)))
        yield


def profile(photos: Sequence[Path], codec: str) -> None:
    """Where one row's time goes, in ms of CPU, with one job."""
    rows = len(photos) * len(QUALITIES)
    parts = list(dict.fromkeys(label for label, _, _ in PARTS))
    columns = []
    for mode in ("bitstream", "png"):
        spent: Counter[str] = Counter()
        with fresh_folders() as new, instrumented(spent):
            start = time.thread_time()
            build(photos, codec, new(), mode, 1)
            spent["all"] = time.thread_time() - start
        spent["the rest"] = spent["all"] - sum(spent[label] for label in parts)
        columns.append(spent)
    line(f"{codec}, ms of CPU per row", "bitstream", "png")
    for label in (*parts, "the rest", "all"):
        line(f"  {label}", *(f"{1000 * spent[label] / rows:.2f}" for spent in columns))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--codec", default="jpeg,webp")
    parser.add_argument("--jobs", default="1,2")
    options = parser.parse_args()
    print(f"{options.photos} photos of 2040x1356, QF {QUALITIES}; {machine()}")
    with fresh_folders() as new:
        photos = mosaics(new(), options.photos)
        for codec in options.codec.split(","):
            for jobs in map(int, options.jobs.split(",")):
                compare(photos, codec, jobs, options.rounds)
            profile(photos, codec)


if __name__ == "__main__":
    main()
