"""Means over images, with intervals, of scores in the long form of ``scores.parquet``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from . import bootstrap

GROUP = "group:"
"""How the ``row_id`` of a score of a whole group (FID of a set and task) begins; it ends with the
number of its images, a hyphen and a hash that tells other images apart."""


@dataclass(frozen=True)
class Mean:
    """The mean of a metric.

    Attributes:
        value: mean over images of each image's mean over its rows; for equal numbers of rows, the
            mean over rows. Infinite scores are left out. None when nothing is left.
        low, high: bootstrap 95 % interval over images; None for fewer than two images.
        images, rows: how many were averaged; of a metric of groups, ``rows`` counts groups.
        infinite: rows left out because their score is infinite (the image equals its HQ).
    """

    value: float | None
    low: float | None
    high: float | None
    images: int
    rows: int
    infinite: int


Key = tuple[object, ...]


def means(scores: pa.Table, by: Sequence[str]) -> dict[Key, Mean]:
    """The mean of every combination of the columns ``by``, which have to tell metrics apart.

    Args:
        scores: rows with ``value`` and the columns of ``scores.parquet``.
        by: names of columns.

    Returns:
        Means by the values of ``by``, in the order of ``by``.
    """
    found = {}
    for key, values, rows, infinite in _per_image(scores, by):
        mean = float(values.mean()) if len(values) else None
        low, high = bootstrap.interval(values) or (None, None)
        found[key] = Mean(mean, low, high, len(values), rows, infinite)
    return found


def _per_image(scores: pa.Table, by: Sequence[str]) -> list[tuple[Key, bootstrap.Values, int, int]]:
    """(key, each image's finite mean, finite rows, infinite rows) of every combination."""
    finite = pc.is_finite(scores["value"])
    table = scores.append_column("finite", pc.cast(finite, pa.int64()))
    shown = pc.if_else(finite, scores["value"], None)
    table = table.append_column("shown", shown)
    image = ["set", "hq_path"]
    grouped = table.group_by(list(dict.fromkeys([*by, *image])), use_threads=False).aggregate(
        [("shown", "mean"), ("finite", "sum"), ("finite", "count")]
    )
    columns = [grouped[name].to_pylist() for name in by]
    # One order of summation, whatever order Arrow's groups come in.
    order = (
        np.lexsort(
            [np.array(grouped[name].to_pylist(), dtype=object).astype(str) for name in image]
        )
        if len(grouped)
        else np.empty(0, int)
    )
    parts = zip(
        *(grouped[name].to_pylist() for name in ("shown_mean", "finite_sum", "finite_count")),
        strict=True,
    )
    entries = list(zip(zip(*columns, strict=True), parts, strict=True))
    groups: dict[Key, tuple[list[float], list[int], list[int]]] = {}
    for index in order:
        key, (mean, rows, all_rows) = entries[int(index)]
        values, finites, lost = groups.setdefault(key, ([], [], []))
        if mean is not None:
            values.append(mean)
        finites.append(rows)
        lost.append(all_rows - rows)
    return [
        (key, np.array(values, np.float64), sum(rows), sum(lost))
        for key, (values, rows, lost) in groups.items()
    ]


def differences(
    scores: pa.Table, model: str, against: str, by: Sequence[str]
) -> dict[Key, bootstrap.Paired]:
    """Paired comparison of two models over the rows that both have.

    Args:
        scores: as for :func:`means`.
        model, against: names of the models; the difference is ``model`` minus ``against``.
        by: columns; ``metric`` and ``protocol`` among them.

    Returns:
        By the values of ``by``; rows where either score is infinite are left out, and groups'
        scores too.
    """
    finite = scores.filter(
        pc.and_(
            pc.is_finite(scores["value"]),
            pc.invert(pc.starts_with(scores["row_id"], pattern=GROUP)),
        )
    )
    keys = ["row_id", "metric", "protocol"]
    mine = finite.filter(pc.equal(finite["model"], model))
    other = finite.filter(pc.equal(finite["model"], against)).select([*keys, "value"])
    both = mine.join(
        other.rename_columns([*keys, "other"]), keys, join_type="inner", use_threads=False
    )
    value = pc.subtract(both["value"], both["other"])
    both = both.set_column(both.schema.get_field_index("value"), "value", value)
    return {
        key: bootstrap.paired(values) for key, values, _, _ in _per_image(both, by) if len(values)
    }
