"""A build with nothing left to do over 72,450 rows, and the memory of builds of many photos.

    python benchmarks/resume.py [--photos 3450] [--rounds 3]

3,450 photos of 64x48 (pieces of the sample photos, PNG) times 21 tasks. The rows of the first three
photos are really built; those of all others are copies of them, written into the journal with the
row ids, paths and sizes that the plan expects, and their bitstreams are hard links. Then the plain
``cirbench build`` command runs in a new process, imports, encoder version checks, table and contact
sheet included: first it finds the new rows and writes the manifest, then there is nothing to do.

Memory: the highest resident size of the process. A build of 100 photos of 2040x1356 must not need
more than one of 10.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import fresh_folders, line, machine, mosaics, sample_photos
from PIL import Image

import cirbench
from cirbench import recipe, sources
from cirbench.builder import plan, store
from cirbench.builder.journal import ROW_FIELDS, ImageRecord, Journal

CODECS = ("jpeg", "webp", "hevc", "vvc", "avc")
QUALITIES = (5, 10, 15)
QPS = (32, 37, 42, 47, 51)
BUILT = 3  # photos on the contact sheet: their bitstreams have to be real
SHAPE = (48, 64)
TARGET_SECONDS, TARGET_MB = 5.0, 500.0

# A small process in between: a child's peak starts at its parent's size.
_MEASURE = """
import resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
wall = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
unit = 1 if sys.platform == "darwin" else 1024
print(code, wall, used.ru_utime + used.ru_stime, used.ru_maxrss * unit / 1e6)
"""


def cirbench_command(*arguments: object) -> tuple[float, float, float]:
    """(wall seconds, CPU seconds, peak MB) of a ``cirbench`` command in a new process."""
    command = [sys.executable, "-m", "cirbench", *map(str, arguments)]
    ran = subprocess.run(
        [sys.executable, "-c", _MEASURE, *command], stdout=subprocess.PIPE, text=True, check=True
    )
    code, wall, cpu, peak = map(float, ran.stdout.split())
    assert code == 0, f"exit status {code:.0f}"
    return wall, cpu, peak


def crops(folder: Path, number: int) -> None:
    """``number`` different pieces of the sample photos as PNG files."""
    folder.mkdir()
    photos = [rgb for _, rgb in sample_photos()]
    rng = np.random.default_rng(0)
    for index in range(number):
        photo = photos[index % len(photos)]
        top, left = (rng.integers(0, n - k) for n, k in zip(photo.shape, SHAPE, strict=False))
        piece = photo[top : top + SHAPE[0], left : left + SHAPE[1]]
        Image.fromarray(piece).save(folder / f"{index:05}.png")


def fill(folder: Path, out: Path, tasks: list[recipe.Task]) -> int:
    """Journal rows and bitstreams of all photos that are not built yet; the number of rows."""
    source = sources.Source("crops", folder, "")
    with Journal(out) as journal:
        known = journal.names("crops")
        template = {row["task"]: row for row in _rows(journal) if row["hq_path"] == "00000.png"}
        for found in sources.find(source):
            if found.path in known:
                continue
            rgb, name = sources.read(found.file).rgb, found.path.removesuffix(".png")
            sha256 = store.pixel_sha256(rgb)
            size = (rgb.shape[1], rgb.shape[0])
            journal.put_image(
                ImageRecord("crops", found.path, name, found.size, found.mtime_ns, sha256, *size)
            )
            for task in tasks:
                row = dict(template[task.key])
                old = row["bitstream_path"]
                row["bitstream_path"] = old.replace("00000", name)
                os.link(out / old, out / row["bitstream_path"])
                row["row_id"] = plan.row_id("crops", found.path, "", sha256, task)
                row["content_id"] = plan.content_id(sha256, task)
                row |= {"hq_path": found.path, "hq_sha256": sha256, "photo_sha256": sha256}
                journal.add(row)
        return sum(1 for _ in journal.select("1"))


def _rows(journal: Journal) -> list[dict[str, Any]]:
    return [dict(zip(ROW_FIELDS, row, strict=True)) for row in journal.rows()]


def nothing_to_do(photos: int, rounds: int, folder: Path, out: Path) -> None:
    """The block about resuming."""
    crops(folder, photos)
    levels = {"qp": [*map(str, QPS)], "qf": [*map(str, QUALITIES)]}
    tasks = recipe.select(recipe.load("paper"), CODECS, levels)
    cirbench.build(
        f"crops={folder}", codec=CODECS, qp=QPS, quality=QUALITIES, out=out, limit=BUILT,
        store_mode="bitstream",
    )  # fmt: skip
    start = time.perf_counter()
    rows = fill(folder, out, tasks)
    print(f"{rows} rows, journal filled in {time.perf_counter() - start:.0f} s")
    assert rows == photos * len(tasks)
    command = ["build", f"crops={folder}", "--codec", ",".join(CODECS), "--out", out]
    command += ["--qp", ",".join(map(str, QPS)), "--qf", ",".join(map(str, QUALITIES))]
    line("no-op build", "wall s", "CPU s", "peak MB", "target")
    first = cirbench_command(*command)
    line("  first, writes the manifest", *(f"{value:.2f}" for value in first))
    runs = [cirbench_command(*command) for _ in range(rounds)]
    target = f"<= {TARGET_SECONDS:g} s, {TARGET_MB:g} MB"
    line("  nothing to do", *(f"{sorted(v)[rounds // 2]:.2f}" for v in zip(*runs)), target)  # noqa: B905


def memory(few: Path, many: Path, out: Path) -> None:
    """The block about memory."""
    line("build --jobs 2, bitstream", "wall s", "CPU s", "peak MB")
    for number, folder in ((10, few), (100, many)):
        options = ["--store", "bitstream", "--jobs", 2, "--out", out / str(number)]
        used = cirbench_command("build", folder, "--codec", "jpeg", *options)
        line(f"  jpeg, {number} photos of 2040x1356", *(f"{value:.2f}" for value in used))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=int, default=3450)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    with fresh_folders() as new:
        out = new()
        out.mkdir()
        few = mosaics(new(), 10)[0].parent
        many = mosaics(new(), 10, copies=10)[0].parent
        memory(few, many, out)
        nothing_to_do(options.photos, options.rounds, new(), new())


if __name__ == "__main__":
    main()
