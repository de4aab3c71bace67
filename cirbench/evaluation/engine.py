"""Restore what is not cached, score what is not journaled; one image at a time, in threads."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import joblib
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from .. import __version__
from ..codecs.base import RGB
from ..errors import CirbenchError, CodecError, InputError
from ..manifest import Manifest
from ..metrics import protocol as protocols
from ..metrics.base import Metric
from .journal import Journal, Key
from .methods import Method, Row

Pair = tuple[Metric, str]
"""A metric, and the name of the protocol it is computed under."""

Unit = tuple[Row, list[tuple[Method, list[Pair]]]]
"""A row and what has to be scored of it."""

_UNUSABLE = (InputError, CodecError)
"""What may be wrong with one image; everything else stops the evaluation."""


@dataclass
class Trouble:
    """What went wrong, safe to fill from several threads.

    Attributes:
        outputs: (model, row_id) to one sentence: outputs that cannot be scored.
        scores: (metric, protocol) to one sentence per score that could not be computed.
    """

    outputs: dict[tuple[str, str], str] = field(default_factory=dict)
    scores: dict[tuple[str, str], list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What the workers share."""

    manifest: Manifest
    journal: Journal
    trouble: Trouble
    device: str
    jobs: int


def key(row_id: str, method: Method, source: str, metric: str, protocol: str) -> Key:
    """The journal's key of one score."""
    version = protocols.get(protocol).version
    return (row_id, method.label, method.checkpoint, source, metric, protocol, version, __version__)


def plan(
    rows: Sequence[Row], methods: Sequence[Method], pairs: Sequence[Pair], context: Context
) -> list[Unit]:
    """What is not in the journal yet; outputs known to be unusable are noted and left out."""
    wanted = [
        ((metric.name, name, protocols.get(name).version), (metric, name)) for metric, name in pairs
    ]
    known = [
        context.journal.scores(method.label, method.checkpoint, __version__) for method in methods
    ]
    units = []
    for row in rows:
        todo = []
        for method, scored in zip(methods, known, strict=True):
            problem = method.problems.get(row["row_id"], "")
            if not problem:
                try:
                    there = scored.get((row["row_id"], method.source(row)), {})
                except InputError as error:
                    problem = str(error)
            if problem:
                context.trouble.outputs[method.label, row["row_id"]] = problem
                continue
            lacking = [pair for what, pair in wanted if what not in there]
            if lacking:
                todo.append((method, lacking))
        if todo:
            units.append((row, todo))
    return units


def restore(rows: Sequence[Row], method: Method, context: Context) -> None:
    """Make the outputs of ``rows`` that are not cached; a failed one is noted."""
    if method.restore is None:
        return
    make = method.restore

    def one(row: Row) -> None:
        try:
            make(row)
        except _UNUSABLE as error:
            context.trouble.outputs[method.label, row["row_id"]] = str(error)

    jobs = context.jobs if method.parallel else 1
    work = (joblib.delayed(one)(row) for row in rows)
    with _bar(len(rows), f"restore {method.label}") as bar:
        for _ in _parallel(work, jobs):
            bar.update()


def score(units: Sequence[Unit], context: Context) -> None:
    """Score all units into the journal, image by image: HQ is read and converted once for each."""
    images: dict[tuple[Any, ...], list[Unit]] = {}
    for unit in units:
        row = unit[0]
        images.setdefault((row["hq_root"], row["hq_path"], row["tile"]), []).append(unit)
    pieces = [piece for group in images.values() for piece in _cut(group, len(images), context)]
    stop = threading.Event()
    with (
        threadpool_limits(1),
        _bar(len(units), "score") as bar,
    ):
        work = (joblib.delayed(_score_image)(piece, context, bar, stop) for piece in pieces)
        for _ in _parallel(work, context.jobs, stop):
            pass


def _cut(group: list[Unit], images: int, context: Context) -> Iterator[list[Unit]]:
    """Several pieces of an image's rows, where there are fewer images than workers."""
    pieces = min(len(group), max(1, -(-context.jobs // images)))
    for index in range(pieces):
        yield group[index::pieces]


def _score_image(
    units: Sequence[Unit], context: Context, bar: tqdm[Any], stop: threading.Event
) -> None:
    """Score rows of one HQ image; every row's scores are journaled as soon as they are there."""
    try:
        hq = HQ(context.manifest.hq(units[0][0]), context)
    except _UNUSABLE as error:
        for row, todo in units:
            for method, _ in todo:
                context.trouble.outputs[method.label, row["row_id"]] = str(error)
        bar.update(len(units))
        return
    for row, todo in units:
        if stop.is_set():
            return
        for method, pairs in todo:
            if (method.label, row["row_id"]) not in context.trouble.outputs:
                try:
                    source = method.source(row)
                    rgb = pixels(method, row, hq.rgb)
                except _UNUSABLE as error:
                    context.trouble.outputs[method.label, row["row_id"]] = str(error)
                    continue
                values = _scores(rgb, hq, method, row, pairs, context)
                context.journal.add(
                    (key(row["row_id"], method, source, metric.name, name), value)
                    for (metric, name), value in values
                )
        bar.update()


class HQ:
    """An HQ image with what each protocol makes of it, and what metrics remember of it."""

    def __init__(self, rgb: RGB, context: Context) -> None:
        self.rgb = rgb
        self._device, self._prepared = context.device, {}  # type: ignore[var-annotated]
        self._memos: dict[str, dict[str, Any]] = {}

    def prepared(self, protocol: str) -> NDArray[Any]:
        """The image under a protocol; computed once."""
        if protocol not in self._prepared:
            self._prepared[protocol] = protocols.get(protocol).prepare(self.rgb)
        found: NDArray[Any] = self._prepared[protocol]
        return found

    def memo(self, protocol: str) -> dict[str, Any]:
        """What metrics keep about this image under a protocol."""
        return self._memos.setdefault(protocol, {"device": self._device, "jobs": 1})


def pixels(method: Method, row: Row, hq: RGB) -> RGB:
    """A method's output for a row. Raises InputError when it is not of the HQ's size."""
    rgb = method.pixels(row)
    if rgb.shape != hq.shape:
        sizes = " and its HQ ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (rgb, hq))
        raise InputError(f"the output is {sizes}; it has to keep the size of the LQ")
    return rgb


def _scores(
    rgb: RGB,
    hq: HQ,
    method: Method,
    row: Row,
    pairs: Sequence[Pair],
    context: Context,
) -> list[tuple[Pair, float]]:
    """The scores of one output; those that cannot be computed are noted."""
    found = []
    prepared: dict[str, NDArray[Any]] = {}
    for metric, name in pairs:
        try:
            if name not in prepared:
                prepared[name] = protocols.get(name).prepare(rgb)
            reference = hq.prepared(name) if metric.reference else None
            value = float(metric.score([prepared[name]], reference, hq.memo(name))[0])
            if math.isnan(value):
                raise InputError(f"{metric.title} is NaN")
        except InputError as error:
            text = f"{describe(row)} {method.label}: {error}"
            context.trouble.scores.setdefault((metric.name, name), []).append(text)
            continue
        found.append(((metric, name), value))
    return found


def describe(row: Mapping[str, Any]) -> str:
    """A row in words: ``live1/bikes.bmp jpeg-qf10``."""
    variant = f" {row['variant']}" if row["variant"] else ""
    return f"{row['set']}/{row['hq_path']} {row['task']}{variant}"


def _bar(total: int, what: str) -> tqdm[Any]:
    """A progress bar on a terminal; silent elsewhere, and when there is nothing to do."""
    return tqdm(
        total=total, unit="row", desc=what, disable=True if total == 0 else None, file=sys.stderr
    )


def _parallel(work: Iterable[Any], jobs: int, stop: threading.Event | None = None) -> Iterator[Any]:
    """Results as they come. Threads: codecs, numpy and networks release the GIL.

    ``stop`` is set when something ends the work early, before waiting for what still runs.
    """
    run = joblib.Parallel(
        n_jobs=jobs, backend="threading", return_as="generator_unordered", pre_dispatch="2*n_jobs"
    )
    with warnings.catch_warnings():
        # joblib warns about work that was not waited for.
        warnings.filterwarnings("ignore", category=UserWarning, module="joblib")
        results = run(work)
        with contextlib.closing(results):
            try:
                yield from results
            except BaseException:
                if stop is not None:
                    stop.set()
                raise


def check_jobs(jobs: int | None) -> int:
    """Workers: ``jobs``, or one per core. Raises CirbenchError below 1."""
    if jobs is not None and jobs < 1:
        raise CirbenchError(f"jobs cannot be {jobs}; it is at least 1")
    return jobs or int(joblib.cpu_count())
