"""The scores of one HQ image's outputs: what a worker does, here or in another process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..backends import attempts
from ..codecs.base import RGB
from ..errors import CodecError, InputError
from ..manifest import Manifest
from ..metrics import protocol as protocols
from ..metrics.base import Metric

Row = Mapping[str, Any]

Pair = tuple[Metric, str]
"""A metric, and the name of the protocol it is computed under."""

UNUSABLE = (InputError, CodecError)
"""What may be wrong with one image; everything else stops the evaluation."""


@dataclass(frozen=True)
class Output:
    """One output to score.

    Attributes:
        label: of the method that made it.
        source: what decides its pixels.
        pixels: reads them; small enough to travel.
        pairs: what is to be computed.
    """

    label: str
    source: str
    pixels: Callable[[], RGB]
    pairs: Sequence[Pair]


@dataclass
class Found:
    """What came out for the outputs of one row.

    Attributes:
        row: the row.
        scores: of each output (label, source, [(metric, protocol, value)]).
        outputs: label to one sentence: outputs that cannot be scored.
        failed: (metric, protocol, one sentence) of scores that could not be computed.
    """

    row: Row
    scores: list[tuple[str, str, list[tuple[str, str, float]]]] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    failed: list[tuple[str, str, str]] = field(default_factory=list)


Piece = Sequence[tuple[Row, Sequence[Output]]]
"""Rows of one HQ image with their outputs."""


def score(manifest: Manifest, device: str, piece: Piece) -> Iterator[Found]:
    """Score the outputs of one HQ image, row by row; the HQ is read and converted once.

    Args:
        manifest: reads HQ images.
        device: where networks run.
        piece: rows of one HQ image.
    """
    try:
        hq = HQ(manifest.hq(piece[0][0]), device)
    except UNUSABLE as error:
        for row, outputs in piece:
            yield Found(row, outputs={output.label: str(error) for output in outputs})
        return
    for row, outputs in piece:
        found = Found(row)
        for output in outputs:
            try:
                rgb = same_size(output.pixels(), hq.rgb)
            except UNUSABLE as error:
                found.outputs[output.label] = str(error)
                continue
            _score(rgb, hq, output, found)
        yield found


def score_elsewhere(manifest: Manifest, device: str, piece: Piece, notes: Path) -> list[Found]:
    """:func:`score` in another process; what ends workers three times is not scored."""

    def run() -> list[Found]:
        return list(score(manifest, device, piece))

    def give_up() -> list[Found]:
        return [
            Found(row, outputs={output.label: attempts.LOST for output in outputs})
            for row, outputs in piece
        ]

    return attempts.run(notes, key(piece), (run, run, run, give_up))


def key(piece: Piece) -> str:
    """What notes about a piece are called by."""
    return "score " + " ".join(str(row["row_id"]) for row, _ in piece)


class HQ:
    """An HQ image with what each protocol makes of it, and what metrics remember of it."""

    def __init__(self, rgb: RGB, device: str) -> None:
        self.rgb = rgb
        self._device = device
        self._prepared: dict[str, NDArray[Any]] = {}
        self._memos: dict[str, dict[str, Any]] = {}

    def prepared(self, protocol: str) -> NDArray[Any]:
        """The image under a protocol; computed once."""
        if protocol not in self._prepared:
            self._prepared[protocol] = protocols.get(protocol).prepare(self.rgb)
        return self._prepared[protocol]

    def memo(self, protocol: str) -> dict[str, Any]:
        """What metrics keep about this image under a protocol."""
        return self._memos.setdefault(protocol, {"device": self._device, "jobs": 1})


def same_size(rgb: RGB, hq: RGB) -> RGB:
    """An output as it is. Raises InputError when it is not of the HQ's size."""
    if rgb.shape != hq.shape:
        sizes = " and its HQ ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (rgb, hq))
        raise InputError(f"the output is {sizes}; it has to keep the size of the LQ")
    return rgb


def _score(rgb: RGB, hq: HQ, output: Output, found: Found) -> None:
    """Add the scores of one output, and those that cannot be computed."""
    values: list[tuple[str, str, float]] = []
    prepared: dict[str, NDArray[Any]] = {}
    for metric, name in output.pairs:
        try:
            if name not in prepared:
                prepared[name] = protocols.get(name).prepare(rgb)
            reference = hq.prepared(name) if metric.reference else None
            value = float(metric.score([prepared[name]], reference, hq.memo(name))[0])
            if math.isnan(value):
                raise InputError(f"{metric.title} is NaN")
        except InputError as error:
            text = f"{describe(found.row)} {output.label}: {error}"
            found.failed.append((metric.name, name, text))
            continue
        values.append((metric.name, name, value))
    found.scores.append((output.label, output.source, values))


def describe(row: Row) -> str:
    """A row in words: ``live1/bikes.bmp jpeg-qf10``."""
    variant = f" {row['variant']}" if row["variant"] else ""
    return f"{row['set']}/{row['hq_path']} {row['task']}{variant}"
