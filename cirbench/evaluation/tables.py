"""Scores as tables in the layouts of the paper: one object, printed by :mod:`.render`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .. import codecs
from ..errors import CirbenchError
from ..recipe import UNSEEN
from . import aggregate, paper
from .aggregate import Mean
from .cells import Pairs, block, titles
from .results import MISSING, Cell, Column, Table

BY = ("codec", "level", "task", "kind", "set")
"""What a table's rows can be."""

KINDS = ("seen", "other", *UNSEEN)
"""In the order of a table's rows and columns."""


def codec_name(codec: str, variant: str) -> str:
    """A codec with what differs from its default settings."""
    return f"{codec} {variant}".strip()


def task_name(codec: str, task: str) -> str:
    """A task with what differs from its codec's default settings, ``codec`` as shown."""
    return task + codec[len(codec.split(" ")[0]) :]


def _codec_order(name: str) -> tuple[int, str]:
    codec = name.split(" ")[0]
    known = codecs.names()
    return known.index(codec) if codec in known else len(known), name


def prepared(scores: pa.Table) -> pa.Table:
    """Scores whose ``codec`` is named with its variant, as tables show it."""
    named = [
        codec_name(codec, variant)
        for codec, variant in zip(
            scores["codec"].to_pylist(), scores["variant"].to_pylist(), strict=True
        )
    ]
    at = scores.schema.get_field_index("codec")
    return scores.set_column(at, "codec", pa.array(named, pa.string()))


def by(
    scores: pa.Table,
    pairs: Pairs,
    models: Sequence[str],
    what: str = "codec",
    with_paper: bool = False,
) -> Table:
    """One row per ``what`` and model, one group of columns per set.

    ``"codec"`` is the layout of the paper's Table 1: the mean of each codec's seen levels (of a
    codec without any, of its levels that belong to no kind). The others take all rows.

    Args:
        scores: columns of ``scores.parquet``.
        pairs: metrics and protocols, in the order of the columns.
        models: in the order of the rows.
        what: one of :data:`BY`.
        with_paper: add the numbers that papers print for these sets and codecs.

    Raises CirbenchError for another ``what``.
    """
    if what not in BY:
        raise CirbenchError(f"--by cannot be {what!r}; it is one of {', '.join(BY)}")
    table = prepared(scores)
    if what == "codec":
        table = _own_levels(table)
    keys = {"level": ["codec", "level"], "task": ["codec", "task", "kind"]}.get(what, [what])
    found = aggregate.means(table, [*keys, "set", "model", "metric", "protocol"])
    entries = _entries(table, keys)
    sets = [""] if what == "set" else sorted(set(table["set"].to_pylist()))
    shown = [key for key in keys if not (what == "task" and key == "codec")]
    columns = [*map(Column, shown), Column("model")]
    columns += [Column(title, name) for name in sets for title in titles(pairs)]
    rows = []
    for entry in entries:
        label = entry
        if what == "task":
            label = (task_name(*entry[:2]), entry[2])
        blocks = []
        for name in sets:
            at = (*entry, name or entry[0])
            blocks.append(block(found, at, models, pairs))
        for index, model in enumerate(models):
            texts = [Cell(text) for text in (*label, model)]
            rows.append((*texts, *(cell for one in blocks for cell in one[index])))
        if with_paper and what == "codec":
            rows += _printed_rows(entry[0], sets, pairs)
    notes = _levels(table) if what == "codec" else []
    if with_paper:
        notes += _paper_notes(sets, what)
    title = {
        "codec": "mean of each codec's levels",
        "level": "by codec and level",
        "kind": "by kind of task",
        "set": "mean of all rows of each set",
    }.get(what, f"by {what}")
    return Table(
        "table1" if what == "codec" else f"by-{what}",
        f"{title}; {_counts(table)}",
        tuple(columns),
        tuple(rows),
        (*notes, *_groups(table, pairs), *_infinite(found, pairs)),
        len(shown) + 1,
    )


def kinds(scores: pa.Table, pairs: Pairs, models: Sequence[str]) -> Table | None:
    """The layout of the paper's Table 2: seen, cross-degree and cross-type side by side.

    None when all rows are of one kind.
    """
    present = set(scores["kind"].to_pylist())
    there = [kind for kind in KINDS if kind in present]
    if len(there) < 2:
        return None
    table = prepared(scores)
    found = aggregate.means(table, ["set", "kind", "model", "metric", "protocol"])
    columns = [Column("set"), Column("model")]
    columns += [Column(title, kind) for kind in there for title in titles(pairs)]
    rows = []
    for name in sorted(set(table["set"].to_pylist())):
        blocks = [block(found, (name, kind), models, pairs) for kind in there]
        for index, model in enumerate(models):
            cells = (cell for one in blocks for cell in one[index])
            rows.append((Cell(name), Cell(model), *cells))
    notes = [
        f"{kind}: {', '.join(_tasks(table.filter(pc.equal(table['kind'], kind))))}"
        for kind in there
    ]
    title = f"{' / '.join(there)}; {_counts(table)}"
    return Table("table2", title, tuple(columns), tuple(rows), tuple(notes))


def _own_levels(table: pa.Table) -> pa.Table:
    """The rows Table 1 is about: codec by codec the seen ones, else the others, else all."""
    pairs = set(zip(table["codec"].to_pylist(), table["kind"].to_pylist(), strict=True))
    kinds = {codec: next(k for k in KINDS if (codec, k) in pairs) for codec, _ in pairs}
    if {"seen", "other"} & set(kinds.values()):
        kinds = {codec: kind for codec, kind in kinds.items() if kind in ("seen", "other")}
    mine = [
        kinds.get(codec) == kind
        for codec, kind in zip(table["codec"].to_pylist(), table["kind"].to_pylist(), strict=True)
    ]
    return table.filter(pa.array(mine, pa.bool_()))


def _entries(table: pa.Table, keys: Sequence[str]) -> list[tuple[str, ...]]:
    """The distinct values of ``keys``, codecs in the paper's order, levels by their number."""
    wanted = list(dict.fromkeys([*keys, "level_value", "level"]))
    grouped = table.group_by(wanted).aggregate([]).to_pylist()

    def place(row: Mapping[str, Any]) -> tuple[Any, ...]:
        codec = _codec_order(row["codec"]) if "codec" in row else ()
        kind = KINDS.index(row["kind"]) if keys == ["kind"] else 0
        level = (_level_order(row), row["level"]) if len(keys) > 1 else ()
        return codec, kind, level, tuple(str(row[key]) for key in keys)

    ordered = sorted(grouped, key=place)
    return list(dict.fromkeys(tuple(str(row[key]) for key in keys) for row in ordered))


def _level_order(row: Mapping[str, Any]) -> float:
    """By number; named levels as their codec lists them."""
    if row["level_value"] is not None:
        return float(row["level_value"])
    codec = codecs.get(row["codec"].split(" ")[0]) if "codec" in row else None
    levels = list(codec.levels) if codec else []
    return float(levels.index(row["level"])) if row["level"] in levels else 0.0


def _printed_rows(codec: str, sets: Sequence[str], pairs: Pairs) -> list[tuple[Cell, ...]]:
    """One row per printed result that has numbers for this codec and one of these sets."""
    rows = []
    for entry in paper.printed():
        cells = []
        for name in sets:
            used: set[str] = set()  # a number of unknown protocol stands in one column only
            for metric, _ in pairs:
                first = metric.name not in used and name.lower() == entry.set
                text = entry.values.get((codec, metric.name), MISSING) if first else MISSING
                used.add(metric.name)
                cells.append(Cell(text))
        if any(cell.text != MISSING for cell in cells):
            rows.append((Cell(codec), Cell(entry.model), *cells))
    return rows


def _paper_notes(sets: Sequence[str], what: str) -> list[str]:
    if what != "codec":
        return ["printed numbers are shown with --by codec only"]
    known = sorted({entry.set for entry in paper.printed()})
    if not {name.lower() for name in sets} & set(known):
        return [f"no printed numbers for {', '.join(sets)}; there are some for {', '.join(known)}"]
    return [
        f"{entry.model}: {entry.source}; its levels and protocol need not be ours, and it stands"
        " in the first column of each metric"
        for entry in paper.printed()
    ]


def _levels(table: pa.Table) -> list[str]:
    """Which levels each codec's mean is over."""
    lists: dict[str, list[str]] = {}
    for codec, level in _entries(table, ["codec", "level"]):
        lists.setdefault(codec, []).append(level)
    return ["; ".join(f"{codec}: {', '.join(levels)}" for codec, levels in lists.items())]


def _tasks(table: pa.Table) -> list[str]:
    return [task_name(codec, task) for codec, task in _entries(table, ["codec", "task"])]


def _counts(table: pa.Table) -> str:
    """``live1: 29 images``."""
    images = table.filter(pc.not_equal(table["hq_path"], ""))
    grouped = images.group_by(["set", "hq_path"]).aggregate([]).group_by("set")
    counts = grouped.aggregate([("hq_path", "count")]).to_pylist()
    return ", ".join(
        f"{row['set']}: {row['hq_path_count']} images"
        for row in sorted(counts, key=lambda row: str(row["set"]))
    )


def _groups(table: pa.Table, pairs: Pairs) -> list[str]:
    """How many images the values of metrics of whole groups (FID) are about."""
    notes = []
    for (metric, protocol), title in zip(pairs, titles(pairs), strict=True):
        if metric.per == "set":
            mine = table.filter(
                pc.and_(
                    pc.equal(table["metric"], metric.name), pc.equal(table["protocol"], protocol)
                )
            )
            ids = (re.search(r"/(\d+)-[^/]*$", row_id) for row_id in mine["row_id"].to_pylist())
            counts = sorted({int(found[1]) for found in ids if found})
            if counts:
                notes.append(
                    f"{title}: each value is about {' or '.join(map(str, counts))} images; compare "
                    "only values of the same images, 2,000 (crops, under patch-fid) or more"
                )
    return notes


def _infinite(found: Mapping[aggregate.Key, Mean], pairs: Pairs) -> list[str]:
    names = dict(zip(((m.name, p) for m, p in pairs), titles(pairs), strict=True))
    lost: dict[str, int] = {}
    for key, mean in found.items():
        if mean.infinite and key[-2:] in names:
            title = names[key[-2:]]  # type: ignore[index]
            lost[title] = lost.get(title, 0) + mean.infinite
    return [
        f"{title}: {count} infinite scores (images equal to their HQ) are left out of the means"
        for title, count in lost.items()
    ]
