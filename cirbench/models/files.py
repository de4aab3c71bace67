"""``cirbench restore``: one image, or every image of a folder, through a restorer."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from .. import images, sources
from ..builder import store
from ..errors import CirbenchError, InputError
from .restorer import Restorer, restore_rgb, seed_of


@dataclass
class Done:
    """What was restored.

    Attributes:
        written: the new files.
        skipped: files that were there already.
        problems: one sentence per image that could not be read or restored.
        seconds: that the restorer took for all it restored, by the clock.
        megapixels: of those images.
    """

    written: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    megapixels: float = 0.0


@dataclass(frozen=True)
class Job:
    """One image to restore: its name (which decides the seed), its file, and the PNG to write."""

    name: str
    source: Path
    target: Path


def plan(source: Path, out: Path) -> list[Job]:
    """What to restore and where it goes: PNGs under the same names.

    Args:
        source: an image, or a folder whose images (of all subfolders) are taken.
        out: a folder; for one image also a file that ends in ``.png``.

    Raises CirbenchError when there is nothing to restore.
    """
    if source.is_file():
        whole = out.suffix.lower() == ".png" and not out.is_dir()
        target = out if whole else out / f"{source.stem}.png"
        return [Job(source.name, source, target)]
    if not source.is_dir():
        raise CirbenchError(f"{source} is neither an image nor a folder; give what to restore")
    if out.suffix.lower() == ".png" and not out.is_dir():
        raise CirbenchError(f"{source} is a folder, so --out has to be one, not {out}")
    found = list(sources.find(sources.Source("", source.absolute(), "")))
    if _within(out, source) and not _within(source, out):  # there lies what an earlier run wrote
        found = [one for one in found if not _within(one.file, out)]
    if not found:
        raise CirbenchError(f"{source} holds no images (PNG, JPEG, BMP, TIFF, WebP)")
    stems = Counter(_stem(one.path).casefold() for one in found)
    jobs = []
    for one in found:
        alone = stems[_stem(one.path).casefold()] == 1
        name = _stem(one.path) if alone else one.path  # a.jpg and a.png: a.jpg.png, a.png.png
        jobs.append(Job(one.path, one.file, out / f"{name}.png"))
    return jobs


def _stem(path: str) -> str:
    return PurePosixPath(path).with_suffix("").as_posix()


def _within(file: Path, folder: Path) -> bool:
    return Path(os.path.abspath(file)).is_relative_to(os.path.abspath(folder))


def run(
    jobs: Sequence[Job],
    make: Callable[[], Restorer],
    *,
    prompt: str | None = None,
    skip_existing: bool = False,
) -> Done:
    """Restore the images of a plan; each file is complete or not there.

    Args:
        jobs: see :func:`plan`.
        make: makes the restorer; not called when there is nothing to do.
        prompt: text for models that take one.
        skip_existing: leave files alone that are there, instead of refusing to start.

    Raises CirbenchError when a file to write exists, before anything is written.
    """
    done = Done()
    existing = [job.target for job in jobs if job.target.exists()]
    if existing and not skip_existing:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise CirbenchError(
            f"{existing[0]}{more} exists and is not overwritten; choose another --out, or add "
            "--skip-existing to go on with the rest"
        )
    done.skipped = existing
    todo = [job for job in jobs if job.target not in set(existing)]
    if not todo:
        return done
    restorer = make()
    quiet = None if len(todo) > 1 else True  # None: quiet when not a terminal
    for job in tqdm(todo, unit="image", desc="restore", disable=quiet, file=sys.stderr):
        try:
            rgb = images.read(job.source).rgb
            started = time.perf_counter()
            restored = restore_rgb(restorer, rgb, seed_of(job.name), prompt)
            done.seconds += time.perf_counter() - started
            done.megapixels += rgb.shape[0] * rgb.shape[1] / 1e6
        except InputError as error:
            text = str(error)
            done.problems.append(text if job.name in text else f"{job.name}: {text}")
            continue
        _write(job.target, store.encode_png(restored))
        done.written.append(job.target)
    return done


def cost(done: Done) -> str:
    """What restoring took, per megapixel, and this process's peak memory; a line for people."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    return (
        f"{done.megapixels:.2f} MP in {done.seconds:.1f} s: "
        f"{done.seconds / done.megapixels:.1f} s per megapixel; peak memory {peak:.1f} GB"
    )


def _write(target: Path, data: bytes) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        os.replace(part, target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise CirbenchError(
            f"cannot write {target} ({error.strerror}); make room or choose another --out"
        ) from error
