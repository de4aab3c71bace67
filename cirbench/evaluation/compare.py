"""``cirbench eval --compare``: several finished evaluations in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .. import metrics, suggest
from ..builder import store
from ..errors import CirbenchError
from . import files, paired, tables
from .results import LQ, Table

_KEYS = ["row_id", "metric", "protocol"]
_MOST_PROBLEMS = 3


def compare(
    paths: Sequence[Path],
    *,
    metrics: Sequence[str] = (),
    protocols: Sequence[str] = (),
    where: Mapping[str, Sequence[str]] | None = None,
    by: str = "codec",
    against: str = "",
    with_paper: bool = False,
    out: Path | None = None,
) -> list[Table]:
    """The tables of several evaluations together, over the rows that all models have.

    The unrestored LQ appears once; where the files' LQ scores differ, a note says so. A model whose
    name is taken is called after its folder, too. What a file calls a problem is in the notes.

    Args:
        paths: folders that ``cirbench eval`` wrote, or their ``scores.parquet``; at least two.
        metrics, protocols: only these; none means all that every file has.
        where: only rows whose column has one of these values: ``{"codec": ["jpeg"]}``.
        by, with_paper: see :func:`.tables.by`.
        against: the model others are compared with; "" means the first that is not the LQ.
        out: write ``summary.csv``, ``table.md`` and ``table.tex`` there, too.

    Raises CirbenchError when they cannot be compared.
    """
    if len(paths) < 2:
        raise CirbenchError("--compare needs two evaluations or more, such as eval/a eval/b")
    scores, models, notes = _together(paths)
    scores = _chosen(scores, {"metric": metrics, "protocol": protocols} | dict(where or {}))
    scores, dropped = _common(scores, models)
    pairs = _pairs(scores)
    others = [model for model in models if model != LQ]
    first = against or (others[0] if others else LQ)
    if first not in models:
        raise CirbenchError(
            f"--against {first!r} is none of the models; there is {', '.join(models)}"
        )
    shown = [
        tables.by(scores, pairs, models, by, with_paper),
        tables.kinds(scores, pairs, models),
        paired.paired(scores, pairs, models, first),
    ]
    found = [table for table in shown if table]
    if dropped:
        notes.append(f"rows that not all models have, left out: {dropped}")
    found[0] = replace(found[0], notes=(*found[0].notes, *notes))
    if out:
        with store.lock(out):
            files.write_tables(out, scores, found)
    return found


def written(out: Path | None) -> list[Path]:
    """The files that :func:`compare` writes."""
    names = (files.SUMMARY, files.LATEX, files.MARKDOWN)
    return [out / name for name in names] if out else []


def _together(paths: Sequence[Path]) -> tuple[pa.Table, list[str], list[str]]:
    """All scores, the models in their order, LQ first, and notes on the files."""
    parts, models, notes = [], [], []
    first: tuple[Path, pa.Table] | None = None
    versions: dict[tuple[str, int], Path] = {}
    for path in paths:
        table, metadata = files.read(path)
        notes += _problems(path, metadata)
        folder = path if path.is_dir() else path.parent
        for name, number in {
            (row["protocol"], row["protocol_version"])
            for row in table.select(["protocol", "protocol_version"]).to_pylist()
        }:
            other = next((v for v in versions if v[0] == name and v[1] != number), None)
            if other:
                raise CirbenchError(
                    f"{path} and {versions[other]} were scored under different versions of "
                    f"{name}; evaluate one of them again"
                )
            versions[name, number] = path
        for model in dict.fromkeys(table["model"].to_pylist()):
            part = table.filter(pc.equal(table["model"], model))
            label = model
            if model == LQ and first:
                notes += _other_inputs(first, (path, part))
                continue
            if model == LQ:
                first = (path, part)
            if model in models:
                label = f"{model} ({folder.resolve().name})"
            if label in models:
                raise CirbenchError(f"two models are called {label!r}; evaluate one with --name")
            models.append(label)
            at = part.schema.get_field_index("model")
            parts.append(part.set_column(at, part.schema.field(at), pa.array([label] * len(part))))
    return pa.concat_tables(parts), sorted(models, key=lambda model: model != LQ), notes


def _problems(path: Path, metadata: Mapping[str, Any]) -> list[str]:
    """What the file itself says is wrong with it."""
    found = [str(one) for one in metadata.get("problems", ())]
    notes = [f"{path}: {one}" for one in found[:_MOST_PROBLEMS]]
    if len(found) > _MOST_PROBLEMS:
        notes.append(f"{path}: problems that are not shown: {len(found) - _MOST_PROBLEMS}")
    return notes


def _other_inputs(first: tuple[Path, pa.Table], second: tuple[Path, pa.Table]) -> list[str]:
    """A note when scores of the LQ differ in the digits that are printed: other LQ images."""
    mine, other = (table.select([*_KEYS, "task", "value"]) for _, table in (first, second))
    both = mine.join(other.rename_columns([*_KEYS, "t", "other"]), _KEYS, join_type="inner")
    names = both["metric"].to_pylist()
    least = np.array([0.5 * 10.0 ** -metrics.get(name).digits for name in names])
    one, two = (both[column].to_numpy() for column in ("value", "other"))
    with np.errstate(invalid="ignore"):  # infinite in both
        differs = (one != two) & ~(np.abs(one - two) <= least)
    rows = both.filter(pa.array(differs, pa.bool_()))
    if not len(rows):
        return []
    count, tasks = len(pc.unique(rows["row_id"])), sorted(rows["task"].unique().to_pylist())
    return [
        f"{first[0]} and {second[0]} were made from other LQ images, such as those of {tasks[0]}: "
        f"{count} have other scores; the LQ shown is that of {first[0]}"
    ]


def _chosen(scores: pa.Table, where: Mapping[str, Sequence[str]]) -> pa.Table:
    for column, wanted in where.items():
        if wanted:
            there = scores[column].unique().to_pylist()
            for name in wanted:
                if name not in there:
                    near = suggest.hint(name, there)
                    raise CirbenchError(f"none of the files has the {column} {name!r}; {near}")
            scores = scores.filter(pc.is_in(scores[column], value_set=pa.array(list(wanted))))
    return scores


def _common(scores: pa.Table, models: Sequence[str]) -> tuple[pa.Table, int]:
    """The scores that all models have, and how many rows others have."""
    counted = scores.group_by(_KEYS).aggregate([("model", "count_distinct")])
    full = counted.filter(pc.equal(counted["model_count_distinct"], len(models)))
    if not len(full):
        raise CirbenchError(
            "these evaluations have no row and metric in common; evaluate the same data set"
        )
    common = scores.join(full.select(_KEYS), _KEYS, join_type="left semi").sort_by(
        [("model", "ascending"), *((key, "ascending") for key in _KEYS)]
    )
    all_rows, rows = (len(pc.unique(table["row_id"])) for table in (scores, common))
    return common, all_rows - rows


def _pairs(scores: pa.Table) -> list[tuple[metrics.Metric, str]]:
    """Metrics and protocols that are there, in the order of the metrics' list."""
    there = scores.group_by(["metric", "protocol"]).aggregate([]).to_pylist()
    order = metrics.names()
    found = [(metrics.get(row["metric"]), row["protocol"]) for row in there]
    return sorted(
        found, key=lambda pair: (order.index(pair[0].name), pair[0].protocols.index(pair[1]))
    )
