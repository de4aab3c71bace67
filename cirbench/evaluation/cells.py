"""Cells and headings of tables: means as text, the best ones marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..metrics.base import Metric
from .aggregate import Key, Mean
from .results import BEST, MISSING, SECOND, Cell

_SHORT = {"native-y": "Y", "native-rgb": "RGB"}

Pairs = Sequence[tuple[Metric, str]]
"""Metrics with the protocols they are shown under, in the order of the columns."""


def titles(pairs: Pairs) -> list[str]:
    """Headings of the metrics' columns: ``PSNR Y ↑``."""
    arrows = {"higher": "↑", "lower": "↓"}
    return [f"{m.title} {_SHORT.get(p, p)} {arrows[m.better]}" for m, p in pairs]


def block(
    found: Mapping[Key, Mean], at: Sequence[object], models: Sequence[str], pairs: Pairs
) -> list[list[Cell]]:
    """One line per model, one cell per metric, the best values marked where all have the same rows.

    Args:
        found: means by ``(*at, model, metric, protocol)``.
        at: which means.
        models: in the order of the lines.
        pairs: in the order of the columns.
    """
    columns = []
    for metric, protocol in pairs:
        means = [found.get((*at, model, metric.name, protocol)) for model in models]
        column = [_cell(mean, metric.digits) for mean in means]
        if len({mean.rows + mean.infinite for mean in means if mean}) == 1:
            column = _marked(column, metric.better == "higher")
        columns.append(column)
    return [list(line) for line in zip(*columns, strict=True)]


def _cell(mean: Mean | None, digits: int) -> Cell:
    if mean is None or mean.value is None:
        return Cell(MISSING)
    text = f"{mean.value:.{digits}f}"
    return Cell(text, "", mean.value, mean.low, mean.high, mean.images, mean.rows)


def _marked(column: Sequence[Cell], higher: bool) -> list[Cell]:
    """Mark the best printed value, and with three models or more the second best, too.

    Equal printed values share a mark; nothing is marked where all are equal.
    """
    there = [cell for cell in column if cell.value is not None]
    ranks = sorted({float(cell.text) for cell in there}, reverse=higher)
    names = (BEST, SECOND) if len(there) > 2 else (BEST,)
    marks = dict(zip(ranks, names, strict=False)) if len(ranks) > 1 else {}
    return [
        cell if cell.value is None else replace(cell, mark=marks.get(float(cell.text), ""))
        for cell in column
    ]
