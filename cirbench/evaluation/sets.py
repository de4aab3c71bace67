"""Metrics of whole groups of images (FID): one value per set and task."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .. import __version__
from ..errors import CodecError, InputError
from ..metrics import protocol as protocols
from ..metrics.fid import FewImagesWarning
from . import engine
from .aggregate import GROUP
from .engine import Context, Pair
from .journal import Known
from .methods import Method, Row

Group = tuple[str, str, str]
"""set, task, variant: the images of one group."""


def group_id(group: Group) -> str:
    """What stands for ``row_id`` in the journal: no hash, so never a row's."""
    return GROUP + "/".join(group)


def shown_id(group: Group, members: Sequence[Row]) -> str:
    """What stands for ``row_id`` in ``scores.parquet``: other images, another id."""
    digest = hashlib.sha256("".join(row["row_id"] for row in members).encode()).hexdigest()
    return f"{group_id(group)}/{len(members)}-{digest[:8]}"


def groups(rows: Sequence[Row]) -> dict[Group, list[Row]]:
    """The rows of every group, in row-id order."""
    found: dict[Group, list[Row]] = {}
    for row in sorted(rows, key=lambda row: str(row["row_id"])):
        found.setdefault((row["set"], row["task"], row["variant"]), []).append(row)
    return found


def usable(rows: Sequence[Row], method: Method, context: Context) -> list[Row]:
    """The rows whose output can be scored, as far as is known."""
    bad = context.trouble.outputs
    return [row for row in rows if (method.label, row["row_id"]) not in bad]


def source(rows: Sequence[Row], method: Method) -> str:
    """What decides a group's value: all its rows' sources."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row['row_id']} {row['hq_sha256']} {method.source(row)}\n".encode())
    return digest.hexdigest()


def score(
    rows: Sequence[Row],
    methods: Sequence[Method],
    pairs: Sequence[Pair],
    context: Context,
    cache: Path,
) -> None:
    """Score all groups that are not in the journal.

    Statistics of HQ images are kept in ``cache``. Outputs have been restored before.
    """
    memos: dict[tuple[str, str, str], dict[str, Any]] = {}
    for method in methods:
        known = context.journal.scores(method.label, method.checkpoint, __version__)
        for group, members in groups(rows).items():
            for pair in pairs:
                name = f"{group[0]} {group[1]} {method.label}"
                try:
                    _score_group(group, members, method, pair, context, known, (memos, cache))
                except InputError as error:
                    what = (pair[0].name, pair[1])
                    context.trouble.scores.setdefault(what, []).append(f"{name}: {error}")


def _score_group(
    group: Group,
    members: Sequence[Row],
    method: Method,
    pair: Pair,
    context: Context,
    known: Known,
    memory: tuple[dict[tuple[str, str, str], dict[str, Any]], Path],
) -> None:
    """Score one group unless it is in ``known``.

    An output found to be unusable on the way is left out, and the group begun again: a value is
    recorded for exactly the rows it was computed from.
    """
    metric, protocol = pair
    memos, cache = memory
    while mine := usable(members, method, context):
        key = source(mine, method)
        version = protocols.get(protocol).version
        if (metric.name, protocol, version) in known.get((group_id(group), key), {}):
            return
        photos = "".join(sorted(row["hq_sha256"] for row in mine))  # in one order for all tasks
        hashes = hashlib.sha256(photos.encode()).hexdigest()
        file = cache / f"{metric.name}-{protocol}-{version}-{hashes[:32]}.npz"
        fresh = {"device": context.device, "jobs": context.jobs, "fid-file": str(file)}
        memo = memos.setdefault((metric.name, protocol, hashes), fresh)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FewImagesWarning)  # the tables tell how many there are
            restored = _restored(mine, method, protocol, context)
            value = float(metric.score(restored, _references(mine, protocol, context), memo))
        if len(usable(mine, method, context)) < len(mine):
            continue
        if math.isnan(value):
            raise InputError(f"{metric.title} is NaN")
        made = engine.key(group_id(group), method, key, metric.name, protocol)
        context.journal.add([(made, value)])
        return


def _references(rows: Sequence[Row], protocol: str, context: Context) -> Iterator[NDArray[Any]]:
    for row in rows:
        yield protocols.get(protocol).prepare(context.manifest.hq(row))


def _restored(
    rows: Sequence[Row], method: Method, protocol: str, context: Context
) -> Iterator[NDArray[Any]]:
    for row in rows:
        try:
            rgb = engine.pixels(method, row, context.manifest.hq(row))
        except (InputError, CodecError) as error:
            context.trouble.outputs[method.label, row["row_id"]] = str(error)
            continue
        yield protocols.get(protocol).prepare(rgb)
