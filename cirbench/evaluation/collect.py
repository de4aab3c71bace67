"""From the journal to the table of scores, and from what went wrong to sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from .. import __version__
from ..manifest import Manifest
from ..metrics import protocol as protocols
from . import sets
from .engine import Context, Pair, Trouble, describe
from .methods import Method, Row
from .schema import FROM_MANIFEST, SCORES_SCHEMA


def table(
    rows: Sequence[Row],
    methods: Sequence[Method],
    single: Sequence[Pair],
    grouped: Sequence[Pair],
    context: Context,
) -> pa.Table:
    """All scores that were asked for, as ``scores.parquet`` holds them, in a fixed order.

    By model, then row id, then metric and protocol as they were asked for; groups last.
    """
    columns: dict[str, list[Any]] = {name: [] for name in SCORES_SCHEMA.names}

    def add(facts: Row, row_id: str, method: Method, pair: Pair, value: float) -> None:
        metric, name = pair
        own = {
            "row_id": row_id,
            "model": method.label,
            "checkpoint": method.checkpoint,
            "metric": metric.name,
            "protocol": name,
            "protocol_version": protocols.get(name).version,
            "value": value,
            "cirbench_version": __version__,
        }
        for column, values in columns.items():
            values.append(own[column] if column in own else facts[column])

    ordered = sorted(rows, key=lambda row: str(row["row_id"]))
    for method in methods:
        known = context.journal.scores(method.label, method.checkpoint, __version__)
        mine = sets.usable(ordered, method, context)
        for row in mine:
            there = known.get((row["row_id"], method.source(row)), {})
            for pair in single:
                value = there.get(_what(pair))
                if value is not None:
                    add(row, row["row_id"], method, pair, value)
        for group, members in sets.groups(mine).items() if grouped else ():
            there = known.get((sets.group_id(group), sets.source(members, method)), {})
            facts = {name: members[0][name] for name in FROM_MANIFEST} | {"hq_path": ""}
            for pair in grouped:
                value = there.get(_what(pair))
                if value is not None:
                    add(facts, sets.shown_id(group, members), method, pair, value)
    return pa.table(columns, schema=SCORES_SCHEMA)


def _what(pair: Pair) -> tuple[str, str, int]:
    return pair[0].name, pair[1], protocols.get(pair[1]).version


def unscored(rows: Sequence[Row], methods: Sequence[Method], trouble: Trouble) -> list[str]:
    """One sentence per output that is missing or cannot be scored."""
    return [
        f"{method.label}, {describe(row)}: {text}"
        for method in methods
        for row in rows
        if (text := trouble.outputs.get((method.label, row["row_id"])))
    ]


def mismatched(manifest: Manifest) -> list[str]:
    """One sentence when LQ pixels that are not the recorded ones were allowed."""
    if manifest.on_mismatch == "error":
        return []
    found = [f"{text} ({count} times)" for text, count in sorted(manifest.mismatches.items())]
    seen = "; ".join(found) or "none was found in this run"
    return [f"LQ pixels that are not the recorded ones were allowed (--on-mismatch warn): {seen}"]


def absent(trouble: Trouble) -> list[str]:
    """One sentence per score that a metric could not give."""
    return [
        f"{metric} under {protocol}: {text}"
        for (metric, protocol), texts in trouble.scores.items()
        for text in sorted(texts)
    ]


def footnotes(wanted: Sequence[Pair], methods: Sequence[Method], trouble: Trouble) -> list[str]:
    """What a reader of the table has to know: absent metrics, absent outputs."""
    notes = {text: None for metric, _ in wanted if (text := metric.problem())}
    for method in methods:
        count = sum(label == method.label for label, _ in trouble.outputs)
        if count:
            notes[
                f"{method.label}: outputs that are missing or unusable: {count}; its means are "
                "over the others and cannot be compared with those of other models"
            ] = None
    for (metric, protocol), texts in trouble.scores.items():
        first = min(texts)
        notes[f"{metric} under {protocol}: scores missing: {len(texts)} ({first})"] = None
    return list(notes)
