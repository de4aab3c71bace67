"""Run the plan: rows through joblib's workers, results into the journal, one bar on the screen."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Container, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from ..backends import attempts
from ..backends.workers import Call, Workers
from ..errors import CirbenchError, InputError
from ..sources import Found
from . import remote
from .journal import ImageRecord, Journal
from .plan import Plan, Work, assign_names
from .row import RowResult, Target, forget_images, hash_image, make, place_hq
from .store import inside


def run(
    plan: Plan, target: Target, journal: Journal, workers: Workers, max_failures: int | None
) -> tuple[int, int]:
    """Make every row of the plan; returns (rows made, failed rows and unusable images).

    Raises CirbenchError when files cannot be written or ``max_failures`` is reached; what was
    finished is in the journal either way.
    """
    made, failed = 0, set()
    quiet = True if len(plan) == 0 else None  # None: quiet when not a terminal
    bar = tqdm(total=len(plan), unit="row", desc="build", disable=quiet, file=sys.stderr)
    with bar, contextlib.closing(_results(plan, target, workers)) as results:
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


def _results(plan: Plan, target: Target, workers: Workers) -> Generator[RowResult, None, None]:
    """Results as they come; rows that need more of a worker than others go first."""
    lists = {id(tasks): tasks for tasks in plan.pending.values()}  # most images share one
    codecs = dict.fromkeys(task.codec for tasks in lists.values() for task in tasks)
    if workers.choice.is_here:
        forget_images(2 * workers.count())  # a file may have changed behind an equal size and time
    for needs, mine in workers.choice.groups(codecs).items():
        calls = _calls(plan, target, workers, mine)
        with contextlib.closing(workers.results(calls, needs)) as results:
            for listed in results:
                yield from listed


def _calls(plan: Plan, target: Target, workers: Workers, codecs: Container[str]) -> Iterator[Call]:
    """Single rows for our threads, which share decoded photos; pieces of a photo for others."""
    if workers.choice.is_here:
        for work in plan.work(workers.count()):
            yield Call(_here, (work, target), ())
        return
    target = replace(target, root=target.root.absolute())  # others work in another folder
    wanted = (work for work in plan.work() if work.task.codec in codecs)
    for piece in remote.pieces(wanted):
        yield Call(remote.rows, (piece, target), tuple(map(remote.key, piece)))


def _here(work: Work, target: Target, _: object) -> list[RowResult]:
    return [make(work, target)]


def place_finished(plan: Plan, target: Target) -> None:
    """Heal linked or copied HQ files of photos that have nothing left to make."""
    placed = None
    for index, (image, _, _) in enumerate(plan.images):
        if index not in plan.pending and not image.problem and image is not placed:
            place_hq(image, target)
            placed = image


def refresh(
    root: Path,
    found: Sequence[Found],
    journal: Journal,
    workers: Workers,
    rehash: bool = False,
    unknown: bool = False,
) -> list[str]:
    """Hash known images again whose size or time changed.

    Args:
        root: the data set's folder.
        found: all images of all sources.
        journal: gets the hashes, and the sizes in pixels, as they come.
        workers: hash them.
        rehash: hash all known images.
        unknown: hash the images, too, that the journal does not know.

    Returns:
        The paths whose pixels changed: their old rows and files are gone.
    """
    suspects = []
    for image in found:
        record = journal.image(image.set, image.path)
        same = record and (record.size, record.mtime_ns) == (image.size, image.mtime_ns)
        if not image.problem and (rehash or not same if record else unknown):
            suspects.append(image)
    names = {
        name: assign_names([i for i in found if i.set == name], journal.names(name))
        for name in dict.fromkeys(image.set for image in suspects)
    }
    changed = []
    calls = (
        Call(_hash, (image, names[image.set][image.path]), (f"{image.set}/{image.path}",))
        for image in suspects
    )
    quiet = True if not suspects else None  # None: quiet when not a terminal
    bar = tqdm(total=len(suspects), unit="photo", desc="hash", disable=quiet)
    with bar, contextlib.closing(workers.results(calls)) as hashes:
        for new in hashes:
            bar.update()
            if isinstance(new, InputError):
                continue  # its rows fail below, one by one, and say why
            old = journal.image(new.set, new.path)
            if old is not None and old.hq_sha256 != new.hq_sha256:
                changed.append(new.path)
            _drop(journal.put_image(new), root)
            journal.commit_now_and_then()
    journal.commit()
    return changed


def _drop(paths: Sequence[str], root: Path) -> None:
    """Remove the files of rows that are no more."""
    for path in paths:
        inside(root, path).unlink(missing_ok=True)


def _hash(image: Found, name: str, notes: Path | None) -> ImageRecord | InputError:
    """Runs in a worker; an image that ends workers counts as unusable."""

    def read() -> ImageRecord | InputError:
        return hash_image(image, name)

    def give_up() -> InputError:
        return InputError(f"{image.path}: {attempts.LOST}")

    remote.see(image, notes)
    return attempts.run(notes, f"{image.set}/{image.path}", (read, read, read, give_up))
