"""Plan, resume, collect and aggregate data sets of up to ten million rows: seconds and memory.

    python benchmarks/scale.py [--rows 72450 1000000] [--folder FOLDER] [--keep]

No pixel is coded. Photos are hard links to one small file, in folders of 1,000; 21 tasks each. Rows
are made up, with the row ids, paths and sizes that the plan expects, and every bitstream is a hard
link of the size that its row says. Then each phase runs in a process of its own:

- plan: find the photos and plan them all, with an empty journal;
- build, first: ``cirbench build`` with every row in the journal; it plans, finds all bitstreams
  there and writes the manifest;
- build, again: the same with nothing left to do;
- manifest: only the manifest, from the journal;
- table: what a build prints at its end: the table, the failures, the photos of the contact sheet;
- stats: the totals of ``cirbench stats``;
- filter: two columns of the 1 in 21 rows of one task; then all columns of one photo's rows.

Peak memory is the process's highest resident size (``ru_maxrss``). ``import`` is what importing
everything takes alone. Disk: about 2 kB a row, and one directory entry.
"""

from __future__ import annotations

import argparse
import json
import operator
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CODECS = ("jpeg", "webp", "hevc", "vvc", "avc")
LEVELS = {"qf": ["5", "10", "15"], "qp": ["32", "37", "42", "47", "51"]}
TASKS = 21
PER_FOLDER, LINKS = 1000, 50_000  # ext4 allows 65,000 links to a file
BITSTREAM_BYTES = 3


def paths(photos: int) -> Iterator[str]:
    return (f"{n // PER_FOLDER:05}/{n:08}.png" for n in range(photos))


def request(folder: Path) -> Any:
    """What ``cirbench build photos --codec jpeg,... --store bitstream-only`` asks for."""
    from cirbench import recipe
    from cirbench.builder.request import Request
    from cirbench.sources import Source

    chosen = recipe.load("paper")
    tasks = recipe.select(chosen, CODECS, LEVELS)
    assert len(tasks) == TASKS
    source = Source("photos", folder / "photos", "")
    return Request([source], tasks, chosen, folder / "out", store="bitstream-only", hq="ref")


def make_photos(folder: Path, photos: int) -> None:
    """Scaffolding: hard links that are called like photos."""
    Links(folder / "photo", b"no pixels").make(folder / "photos", paths(photos))


class Links:
    """Many names for small files of one content."""

    def __init__(self, base: Path, data: bytes) -> None:
        self.base, self.data, self.made = base, data, 0

    def make(self, root: Path, names: Iterator[str]) -> None:
        known: set[str] = set()
        for name in names:
            if self.made % LINKS == 0:
                self.file = self.base.with_suffix(f".{self.made // LINKS}")
                self.file.write_bytes(self.data)
            parent = name.rpartition("/")[0]
            if parent not in known:
                (root / parent).mkdir(parents=True, exist_ok=True)
                known.add(parent)
            os.link(self.file, f"{root}/{name}")
            self.made += 1


def fill(folder: Path, photos: int) -> None:
    """Scaffolding: the journal's rows and the files they name.

    Rows go in sorted by their ids, in one transaction, with nothing kept safe, and the index is
    made afterwards: else SQLite writes every page many times.
    """
    import numpy as np

    from cirbench.builder import available, plan, settled, store
    from cirbench.builder.journal import _COLUMNS, ImageRecord, Journal
    from cirbench.builder.request import find
    from cirbench.builder.row import Target, _labels
    from cirbench.codecs import get

    asked = request(folder)
    here = available.check(asked.tasks)
    tasks, out = here.tasks, asked.out
    out.mkdir()
    target = Target(out, "bitstream-only", "ref", asked.recipe.name, here.versions)
    found = find(asked)
    hashes = [store.sha256(image.path.encode()) for image in found]
    ids = np.fromiter(
        (
            plan.row_id("photos", image.path, "", sha256, task).encode()
            for image, sha256 in zip(found, hashes, strict=True)
            for task in tasks
        ),
        "S32",
        photos * TASKS,
    )
    shared = {"source_mode": "RGB", "width": 2040, "height": 1356, "status": "ok", "bpp": 0.25}
    shared |= {"encoder_args": "made up", "bitstream_bytes": BITSTREAM_BYTES}
    files, of_tasks = [], []
    for number, task in enumerate(tasks):
        parts = (task.codec, task.label, task.variant, "photos", "\n", get(task.codec).extension)
        files.append(store.bitstream_path(*parts).split("\n"))
        same = shared | {"psnr_rgb": 20.0 + number, "psnr_y": 21.0 + number}
        same |= _labels(plan.Work(found[0], "", task), target)
        of_tasks.append([same.get(name) for name in _COLUMNS])
    own = "row_id content_id hq_path hq_sha256 photo_sha256 bitstream_path bitstream_sha256"
    own += " lq_sha256 encode_seconds decode_seconds"
    places = operator.itemgetter(*own.split())({name: n for n, name in enumerate(_COLUMNS)})

    def rows() -> Iterator[list[Any]]:
        for place in np.argsort(ids).tolist():
            number, which = divmod(place, TASKS)
            path, sha256 = found[number].path, hashes[number]
            row_id = ids[place]
            coded = store.sha256(row_id)
            before, after = files[which]
            made = of_tasks[which].copy()
            its: tuple[Any, ...] = (row_id.decode(), coded[:32], path, sha256, sha256)
            its += (f"{before}{path[:-4]}{after}", coded, coded[::-1], 1e-6 * number, 1e-7 * number)
            for column, value in zip(places, its, strict=True):
                made[column] = value
            yield made

    with Journal(out) as journal:
        database = journal._db
        database.executescript("PRAGMA synchronous = OFF; DROP INDEX rows_by_split")
        settled.modes("bitstream-only", "ref", journal, out)
        for image, sha256 in zip(found, hashes, strict=True):
            size = (image.size, image.mtime_ns, sha256, 2040, 1356)
            journal.put_image(ImageRecord("photos", image.path, image.path[:-4], *size))
        marks = ", ".join("?" * len(_COLUMNS))
        database.executemany(f"INSERT INTO rows VALUES ({marks})", rows())
    Journal(out).__exit__()
    links = Links(folder / "bitstream", bytes(BITSTREAM_BYTES))
    for before, after in files:
        links.make(out, (f"{before}{path[:-4]}{after}" for path in paths(photos)))


def plan_all(folder: Path, photos: int) -> None:
    from cirbench.builder import finished, plan
    from cirbench.builder.journal import Journal
    from cirbench.builder.request import find

    asked = request(folder)
    with tempfile.TemporaryDirectory(dir=folder) as empty, Journal(Path(empty)) as journal:
        made = plan.make(find(asked), asked.tasks, journal, finished.rows(Path(empty), journal))
        assert len(made) == photos * TASKS == sum(1 for _ in made.work(2))


def build(folder: Path, photos: int) -> None:
    from cirbench.builder.build import run

    result = run(request(folder))
    assert (result.made, result.skipped, result.failed) == (0, photos * TASKS, 0)


def collect(folder: Path, photos: int) -> None:
    from cirbench import __version__, manifest
    from cirbench.builder import store
    from cirbench.builder.journal import Journal

    with store.lock(folder / "out"), Journal(folder / "out") as journal:
        journal.set_meta("manifest_current", "no")
        before = store.file_sha256(folder / "out" / manifest.FILE_NAME)
        manifest.write(folder / "out", journal, __version__)
    assert store.file_sha256(folder / "out" / manifest.FILE_NAME) == before


def table(folder: Path, photos: int) -> None:
    from cirbench import Manifest
    from cirbench.report import contact_sheet, summary

    out = folder / "out"
    lines = summary.table(out).splitlines()
    assert len(lines) == 1 + TASKS and all(str(photos) in line for line in lines[1:])
    assert not list(summary.failures(out))
    shown = contact_sheet._photos(Manifest.open(out).usable, 3)
    assert [len(rows) for rows in shown] == [TASKS] * min(photos, 3)


def stats(folder: Path, photos: int) -> None:
    from cirbench.report import stats

    whole = stats.totals(folder / "out")[-1]
    assert (whole["images"], whole["rows"]) == (photos, photos * TASKS)


def filter_task(folder: Path, photos: int) -> None:
    from cirbench import Manifest

    chosen = Manifest.open(folder / "out").filter(codec="vvc", level="qp37")
    assert len(chosen.read("row_id", "bpp")) == photos


def filter_photo(folder: Path, photos: int) -> None:
    from cirbench import Manifest

    path = [*paths(photos)][photos // 2]
    assert len(list(Manifest.open(folder / "out").filter(hq_path=path))) == TASKS


def imports(folder: Path, photos: int) -> None:
    import cirbench.builder.build
    import cirbench.report.contact_sheet
    import cirbench.report.stats
    import cirbench.report.summary  # noqa: F401


PHASES: dict[str, tuple[str, Callable[[Path, int], None]]] = {
    "import": ("import", imports),
    "photos": ("", make_photos),
    "plan": ("plan", plan_all),
    "fill": ("", fill),
    "first": ("build, first", build),
    "again": ("build, again", build),
    "manifest": ("manifest", collect),
    "table": ("table", table),
    "stats": ("stats", stats),
    "filter": ("filter, one task", filter_task),
    "photo": ("filter, one photo", filter_photo),
}


def measured(phase: str, folder: Path, photos: int) -> tuple[float, float, float]:
    """(wall seconds, CPU seconds, peak MB) of a phase in a process of its own."""
    command = [sys.executable, __file__, "--phase", phase, "--folder", str(folder)]
    ran = subprocess.run(
        [*command, "--rows", str(photos * TASKS)], stdout=subprocess.PIPE, text=True, check=True
    )
    wall, cpu, peak = json.loads(ran.stdout)
    return float(wall), float(cpu), float(peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[72_450, 1_000_000])
    parser.add_argument("--folder", type=Path, help="where to work; default: the temporary folder")
    parser.add_argument("--keep", action="store_true", help="leave the data set there")
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.phase:
        start = time.perf_counter()
        PHASES[options.phase][1](options.folder, options.rows[0] // TASKS)
        wall = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_SELF)
        unit = 1 if sys.platform == "darwin" else 1024
        print(json.dumps((wall, used.ru_utime + used.ru_stime, used.ru_maxrss * unit / 1e6)))
        return
    for rows in options.rows:
        photos = rows // TASKS
        folder = Path(tempfile.mkdtemp(prefix="cirbench-scale-", dir=options.folder))
        try:
            print(f"{photos * TASKS:,} rows: {photos:,} photos x {TASKS} tasks", flush=True)
            print(f"{'':<20}{'wall s':>10}{'CPU s':>10}{'rows/s':>12}{'peak MB':>10}", flush=True)
            for phase, (label, _) in PHASES.items():
                wall, cpu, peak = measured(phase, folder, photos)
                label = label or f"({phase}, made up)"
                rate = f"{photos * TASKS / wall:,.0f}" if phase != "import" else ""
                print(f"{label:<20}{wall:>10.1f}{cpu:>10.1f}{rate:>12}{peak:>10.0f}", flush=True)
            for name in ("journal.sqlite", "manifest.parquet", "timings.parquet"):
                size = (folder / "out" / name).stat().st_size
                print(f"{name}: {size / 1e6:,.0f} MB, {size / photos / TASKS:.0f} bytes a row")
        finally:
            if not options.keep:
                shutil.rmtree(folder)


if __name__ == "__main__":
    main()
