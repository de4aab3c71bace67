"""Restore what is not cached, score what is not journaled; one HQ image at a time."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .. import __version__
from ..backends import attempts
from ..backends.workers import Call, Workers
from ..codecs.base import RGB
from ..errors import InputError
from ..manifest import Manifest
from ..metrics import protocol as protocols
from . import scoring
from .journal import Journal, Key
from .methods import Method, Row
from .scoring import UNUSABLE, Found, Output, Pair, Piece, describe

__all__ = ["Context", "Pair", "Trouble", "describe", "key", "pixels", "plan", "restore", "score"]

_RESTORE, _SCORE = "restore", "score"
WORK = (_RESTORE, _SCORE)
"""What may need something of a worker (``--resources``)."""

Unit = tuple[Row, list[tuple[Method, list[Pair]]]]
"""A row and what has to be scored of it."""


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
    workers: Workers


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
    if method.restore is None or method.order is None:
        return
    make, order = method.restore, method.order
    workers = context.workers

    def here(row: Row, _: object) -> tuple[Row, str]:
        try:
            make(row)
        except UNUSABLE as error:
            return row, str(error)
        return row, ""

    def calls() -> Iterator[Call]:
        for row in rows:
            if workers.choice.is_here:
                yield Call(here, (row,), ())
            elif ordered := order(row):
                yield Call(_restore, (row, ordered), (_note(row, ordered),))

    one = workers.choice.is_here and not method.parallel
    with (
        _bar(len(rows), f"restore {method.label}") as bar,
        closing(
            (call.function(*call.args, None) for call in calls())
            if one
            else workers.results(calls(), workers.choice.needs(_RESTORE))
        ) as results,
    ):
        for row, problem in results:
            if problem:
                context.trouble.outputs[method.label, row["row_id"]] = problem
            elif method.made and not workers.choice.is_here:
                method.made(row)
            bar.update()


def _note(row: Row, ordered: Callable[[], None]) -> str:
    return f"restore {row['row_id']} {ordered}"


def _restore(row: Row, ordered: Callable[[], None], notes: Path) -> tuple[Row, str]:
    """Runs in another process."""

    def run() -> tuple[Row, str]:
        try:
            ordered()
        except UNUSABLE as error:
            return row, str(error)
        return row, ""

    def give_up() -> tuple[Row, str]:
        return row, attempts.LOST

    return attempts.run(notes, _note(row, ordered), (run, run, run, give_up))


def score(units: Sequence[Unit], context: Context) -> None:
    """Score all units into the journal, image by image: HQ is read and converted once for each."""
    images: dict[tuple[Any, ...], list[Unit]] = {}
    for unit in units:
        row = unit[0]
        images.setdefault((row["hq_root"], row["hq_path"], row["tile"]), []).append(unit)
    workers = context.workers
    needs = workers.choice.needs(_SCORE)
    abreast = workers.count(needs) if units else 1
    pieces = (piece for group in images.values() for piece in _cut(group, len(images), abreast))
    stop = threading.Event()
    with _bar(len(units), "score") as bar:
        record = _Recorder(context, {m.label: m for _, todo in units for m, _ in todo}, bar)
        calls = _calls(pieces, context, record, stop)
        with closing(workers.results(calls, needs)) as results:
            try:
                for found in results:
                    for one in found:
                        record(one)
            except BaseException:
                stop.set()
                raise


def _calls(
    pieces: Iterator[list[Unit]], context: Context, record: _Recorder, stop: threading.Event
) -> Iterator[Call]:
    """Threads journal each row as soon as it is scored; other processes send what they found."""
    is_here = context.workers.choice.is_here
    manifest = context.manifest if is_here else context.manifest.reader()
    for units in pieces:
        piece = [(row, _outputs(row, todo, context)) for row, todo in units]
        if is_here:
            yield Call(_score_here, (manifest, context.device, piece, record, stop), ())
        else:
            args = (manifest, context.device, piece)
            yield Call(scoring.score_elsewhere, args, (scoring.key(piece),))


def _score_here(
    manifest: Manifest,
    device: str,
    piece: Piece,
    record: _Recorder,
    stop: threading.Event,
    _: object,
) -> list[Found]:
    for found in scoring.score(manifest, device, piece):
        record(found)
        if stop.is_set():
            break
    return []


def _outputs(row: Row, todo: Sequence[tuple[Method, list[Pair]]], context: Context) -> list[Output]:
    """What is to be scored of a row; an output that is not there is noted."""
    found = []
    for method, pairs in todo:
        if (method.label, row["row_id"]) not in context.trouble.outputs:
            try:
                found.append(Output(method.label, method.source(row), method.reader(row), pairs))
            except UNUSABLE as error:
                context.trouble.outputs[method.label, row["row_id"]] = str(error)
    return found


@dataclass(frozen=True)
class _Recorder:
    """Journals what was found of a row; may be called from several threads."""

    context: Context
    methods: dict[str, Method]
    bar: tqdm[Any]

    def __call__(self, found: Found) -> None:
        row, trouble = found.row, self.context.trouble
        for label, problem in found.outputs.items():
            trouble.outputs[label, row["row_id"]] = problem
        for metric, protocol, text in found.failed:
            trouble.scores.setdefault((metric, protocol), []).append(text)
        for label, source, values in found.scores:
            method = self.methods[label]
            self.context.journal.add(
                (key(row["row_id"], method, source, metric, protocol), value)
                for metric, protocol, value in values
            )
        self.bar.update()


def _cut(group: list[Unit], images: int, abreast: int) -> Iterator[list[Unit]]:
    """Several pieces of an image's rows, where there are fewer images than workers."""
    pieces = min(len(group), max(1, -(-abreast // images)))
    for index in range(pieces):
        yield group[index::pieces]


def pixels(method: Method, row: Row, hq: RGB) -> RGB:
    """A method's output for a row. Raises InputError when it is not of the HQ's size."""
    return scoring.same_size(method.pixels(row), hq)


def _bar(total: int, what: str) -> tqdm[Any]:
    """A progress bar on a terminal; silent elsewhere, and when there is nothing to do."""
    return tqdm(
        total=total, unit="row", desc=what, disable=True if total == 0 else None, file=sys.stderr
    )
