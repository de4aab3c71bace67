"""Run the plan: rows through joblib's workers, results into the journal, one bar on the screen."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import joblib
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ..errors import CirbenchError, InputError
from ..sources import Found
from .journal import Journal
from .plan import Plan, assign_names
from .row import Result, Target, forget_images, hash_image, make, place_hq
from .store import inside

Results = Generator[Result, None, None]
Item = TypeVar("Item")


def run(
    plan: Plan, target: Target, journal: Journal, jobs: int, max_failures: int | None
) -> tuple[int, int]:
    """Make every row of the plan; returns (rows made, failed rows and unusable images).

    Raises CirbenchError when files cannot be written or ``max_failures`` is reached; what was
    finished is in the journal either way.
    """
    made, failed = 0, set()
    forget_images(2 * jobs)  # a file may have changed behind an equal size and time
    quiet = True if len(plan) == 0 else None  # None: quiet when not a terminal
    bar = tqdm(total=len(plan), unit="row", desc="build", disable=quiet, file=sys.stderr)
    work = (joblib.delayed(make)(item, target) for item in plan.work(jobs))
    # OpenBLAS would start threads of its own under every worker.
    with bar, threadpool_limits(1), _stopping_quietly(_parallel(work, jobs)) as results:
        for result in results:
            if result.image is not None:
                _drop(journal.put_image(result.image), target.root)
            journal.add(result.row, result.replaces)
            if result.row["status"] != "error":
                made += 1
            else:
                failed.add(result.row["row_id"])
                bar.set_postfix(failed=len(failed))
                if max_failures is not None and len(failed) > max_failures:
                    raise CirbenchError(
                        f"stopped after {len(failed)} failures (--max-failures {max_failures}); "
                        f"the last: {result.row['hq_path']}: {result.row['error']}"
                    )
            bar.update()
    return made, len(failed)


def place_finished(plan: Plan, target: Target) -> None:
    """Heal linked or copied HQ files of photos that have nothing left to make."""
    placed = None
    for index, (image, _, _) in enumerate(plan.images):
        if index not in plan.pending and not image.problem and image is not placed:
            place_hq(image, target)
            placed = image


@contextlib.contextmanager
def _stopping_quietly(
    results: Generator[Item, None, None],
) -> Iterator[Generator[Item, None, None]]:
    """Close ``results`` at the end; joblib warns about work that was not waited for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="joblib")
        with contextlib.closing(results):
            yield results


def _parallel(work: Iterable[object], jobs: int) -> Results:
    """Results as they come. Threads: encoders are subprocesses or release the GIL."""
    parallel = joblib.Parallel(
        n_jobs=jobs, backend="threading", return_as="generator_unordered", pre_dispatch="2*n_jobs"
    )
    results: Results = parallel(work)
    return results


def refresh(
    root: Path,
    found: Sequence[Found],
    journal: Journal,
    jobs: int,
    rehash: bool = False,
    unknown: bool = False,
) -> list[str]:
    """Hash known images again whose size or time changed.

    Args:
        root: the data set's folder.
        found: all images of all sources.
        journal: gets the hashes, and the sizes in pixels, as they come.
        jobs: images at a time.
        rehash: hash all known images.
        unknown: hash the images, too, that the journal does not know.

    Returns:
        The paths whose pixels changed: their old rows and files are gone.
    """
    known = {name: journal.images(name) for name in dict.fromkeys(i.set for i in found)}
    names = {
        name: assign_names([i for i in found if i.set == name], images)
        for name, images in known.items()
    }
    suspects = []
    for image in found:
        record = known[image.set].get(image.path)
        same = record and (record.size, record.mtime_ns) == (image.size, image.mtime_ns)
        if not image.problem and (rehash or not same if record else unknown):
            suspects.append(image)
    changed = []
    parallel = joblib.Parallel(n_jobs=jobs, backend="threading", return_as="generator")
    work = (joblib.delayed(hash_image)(image, names[image.set][image.path]) for image in suspects)
    quiet = True if not suspects else None  # None: quiet when not a terminal
    with _stopping_quietly(parallel(work)) as hashes:
        bar = tqdm(hashes, total=len(suspects), unit="photo", desc="hash", disable=quiet)
        for image, new in zip(suspects, bar, strict=True):
            if isinstance(new, InputError):
                continue  # its rows fail below, one by one, and say why
            old = known[image.set].get(image.path)
            if old is not None and old.hq_sha256 != new.hq_sha256:
                changed.append(image.path)
            _drop(journal.put_image(new), root)
            journal.commit_now_and_then()
    journal.commit()
    return changed


def _drop(paths: Sequence[str], root: Path) -> None:
    """Remove the files of rows that are no more."""
    for path in paths:
        inside(root, path).unlink(missing_ok=True)


def present(root: Path, journal: Journal) -> set[str]:
    """Row ids of finished rows whose files are all there, with the right size."""
    sizes = _sizes(root, "bitstreams") | _sizes(root, "lq")
    fields = "row_id, bitstream_path, bitstream_bytes, lq_path"
    return {
        row_id
        for row_id, coded, size, lq in journal.select(fields, "status != 'error'")
        if sizes.get(coded) == size and (lq is None or sizes.get(lq))
    }


def _sizes(root: Path, top: str) -> dict[str, int]:
    """Size of every file under ``root/top``, by path relative to ``root``."""
    sizes: dict[str, int] = {}
    folders = [top]
    while folders:
        folder = folders.pop()
        with contextlib.suppress(FileNotFoundError), os.scandir(root / folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{folder}/{entry.name}")
                else:
                    sizes[f"{folder}/{entry.name}"] = entry.stat(follow_symlinks=False).st_size
    return sizes
