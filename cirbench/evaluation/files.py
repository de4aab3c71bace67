"""The files of an evaluation: ``scores.parquet``, ``summary.csv``, ``table.tex``, ``table.md``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from .. import __version__, metrics, parquet
from ..builder import store
from ..errors import CirbenchError
from ..printable import cell, line
from . import aggregate, render, tables
from .results import Table
from .schema import SCORES_SCHEMA

SCORES, SUMMARY, LATEX, MARKDOWN = "scores.parquet", "summary.csv", "table.tex", "table.md"
REPORT = "report.html"


def write(
    out: Path,
    scores: pa.Table,
    shown: Sequence[Table],
    metadata: Mapping[str, Any],
) -> None:
    """Write ``scores.parquet`` and the tables into ``out``; each file is complete or as it was.

    Args:
        out: the evaluation's folder.
        scores: rows of :data:`SCORES_SCHEMA`.
        shown: the tables for ``table.tex`` and ``table.md``.
        metadata: JSON-able; the file-level metadata of ``scores.parquet``.
    """
    texts = {"cirbench": json.dumps({"cirbench_version": __version__} | dict(metadata))}
    table = scores.replace_schema_metadata(texts)
    store.write(out, SCORES, parquet.content(table, write_page_checksum=True))
    write_tables(out, scores, shown)


def write_tables(out: Path, scores: pa.Table, shown: Sequence[Table]) -> None:
    """Write ``summary.csv``, ``table.tex`` and ``table.md``."""
    store.write(out, SUMMARY, summary(scores).encode())
    for name, draw in ((LATEX, render.latex), (MARKDOWN, render.markdown)):
        store.write(out, name, ("\n\n".join(map(draw, shown)) + "\n").encode())


_HEADS = (
    *("set", "by", "group", "model", "checkpoint", "metric", "protocol", "protocol_version"),
    *("images", "rows", "mean", "low", "high"),
)


def summary(scores: pa.Table) -> str:
    """All means with their 95 % intervals as CSV: by kind, codec (with its kind) and task."""
    table = tables.prepared(scores)
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(_HEADS)
    tail = ["model", "checkpoint", "metric", "protocol", "protocol_version"]
    for by, keys in (("kind", ["kind"]), ("codec", ["kind", "codec"]), ("task", ["codec", "task"])):
        found = aggregate.means(table, ["set", *keys, *tail])
        for key in sorted(found, key=lambda key: tuple(map(str, key))):
            mean = found[key]
            group = " ".join(map(str, key[1 : 1 + len(keys)]))
            if by == "task":
                group = tables.task_name(str(key[1]), str(key[2]))
            numbers = [
                "" if value is None else repr(value) for value in (mean.value, mean.low, mean.high)
            ]
            lines.writerow(
                [cell(str(key[0])), by, cell(group)]
                + [cell(str(one)) for one in key[1 + len(keys) :]]
                + [mean.images, mean.rows, *numbers]
            )
    return text.getvalue()


def _check(scores: pa.Table) -> None:
    """Raise ValueError or CirbenchError for kinds, metrics and protocols that there are not."""
    for kind in scores["kind"].unique().to_pylist():
        if kind not in tables.KINDS:
            raise ValueError(f"there is no kind of task {kind!r}")
    for row in scores.group_by(["metric", "protocol"]).aggregate([]).to_pylist():
        if row["protocol"] not in metrics.get(row["metric"]).protocols:
            raise ValueError(f"{row['metric']} is not defined under {row['protocol']!r}")


def read(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """A ``scores.parquet`` (or the folder it is in) and its metadata.

    Raises CirbenchError when it is missing or none.
    """
    path = path / SCORES if path.is_dir() else path
    try:
        table = parquet.read(path)
        metadata = json.loads((table.schema.metadata or {})[b"cirbench"])
        table = table.select(SCORES_SCHEMA.names).cast(SCORES_SCHEMA)
        empty = [name for name in table.column_names if table[name].null_count]
        if empty not in ([], ["level_value"]) or not isinstance(metadata, dict):
            raise ValueError(f"{', '.join(empty) or 'its metadata'} is empty")
        _check(table)
        return table, metadata
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CirbenchError(
            f"{path} does not exist; give folders that cirbench eval wrote"
        ) from error
    except (
        pa.ArrowException,
        OSError,
        KeyError,
        ValueError,
        RecursionError,
        CirbenchError,
    ) as error:
        why = line(str(error))
        raise CirbenchError(f"{path} is damaged or no cirbench scores ({why})") from error
