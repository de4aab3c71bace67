"""What an evaluation found: the object that tables, files and the report are made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..manifest import Manifest

if TYPE_CHECKING:
    from ..metrics.base import Metric

LQ = "LQ"
"""The name under which the unrestored input is scored."""

MISSING = "—"
"""What a table shows where there is no score."""

BEST, SECOND = "best", "second"


@dataclass(frozen=True)
class Column:
    """One column of a table: its heading and the heading it shares with its neighbours."""

    title: str
    group: str = ""


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what to print; :data:`MISSING` where there is no score.
        mark: ``"best"``, ``"second"`` or ``""``, among the models compared.
        value: the mean, in the metric's unit; None for text and where there is no score.
        low, high: bootstrap 95 % interval of the mean over images; None where there is none.
        images, rows: how many were averaged.
    """

    text: str
    mark: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    images: int = 0
    rows: int = 0


@dataclass(frozen=True)
class Table:
    """A table for any output: terminal, Markdown, LaTeX, CSV, HTML.

    Attributes:
        name: a key: ``"table1"``, ``"table2"``, ``"paired"``.
        title: one line above it.
        columns: its columns; the first ``left`` hold texts, the others numbers.
        rows: as many cells in each as there are columns.
        notes: footnotes.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    left: int = 2


@dataclass(frozen=True)
class Results:
    """One finished evaluation.

    Attributes:
        manifest: the rows that were evaluated, and access to their HQ and LQ pixels.
        scores: one row per image, model, metric and protocol; columns of
            :data:`cirbench.evaluation.schema.SCORES_SCHEMA`, all models.
        models: names in the order of the tables; the first is :data:`LQ`.
        restored: pixels of a model's output for a manifest row, uint8 (H, W, 3); None where it
            has none. For :data:`LQ`, the LQ.
        metrics: the metrics of this evaluation by name, also those that could not run.
        problems: one sentence per missing, unusable or unscored output, and per warning.
        provenance: what, with which versions, by which command.
        tables: the tables that were printed.
        outputs_without_score: those of ``problems`` that are about an output that is missing or
            cannot be scored; with any, ``cirbench eval`` ends with exit code 3.
        router: ``router.png``, or b"" for models without a router.
    """

    manifest: Manifest
    scores: pa.Table
    models: tuple[str, ...]
    restored: Callable[[str, Mapping[str, Any]], NDArray[np.uint8] | None]
    metrics: dict[str, Metric]
    problems: list[str]
    provenance: dict[str, str]
    tables: list[Table] = field(default_factory=list)
    outputs_without_score: list[str] = field(default_factory=list)
    router: bytes = b""

    @property
    def missing(self) -> int:
        """How many outputs have no score."""
        return len(self.outputs_without_score)
