"""Does a test set fit the training set? The guard against mismatched levels and leaked images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from . import codecs
from .manifest import Manifest
from .recipe import UNSEEN

HARMLESS = ("device", "threads")
"""Settings that move a learned codec's arithmetic in the last bits only: a note, no problem."""

_IMPLEMENTATION = ("encoder_version", "weights", "weights_sha256")
_TASK = ("task", "codec", "level", "kind", "settings", *_IMPLEMENTATION)
_IMAGE = ("photo_sha256", "hq_sha256", "set", "hq_path")

Profile = Mapping[str, Any]
"""How a task was made: all its settings, the encoder's version and the weights with their hash."""


@dataclass(frozen=True)
class Mismatch:
    """One thing that differs in how a task was made: the value in TRAIN and the one in TEST."""

    task: str
    name: str
    train: Any
    test: Any


@dataclass(frozen=True)
class Size:
    """How much of a data set counts: photos, and tasks (variants of a task counted once)."""

    images: int
    tasks: int


@dataclass(frozen=True)
class Report:
    """What :func:`check` found. Tasks are keys such as ``jpeg-qf5``.

    Attributes:
        train, test: what was compared.
        alike: tested tasks that were trained on and made in the same way.
        unseen: tested tasks that were not trained on, as their kind says, with that kind.
        missing: tested tasks that were not trained on though nothing says they are unseen, each
            with the levels of its codec that were.
        not_unseen: tested tasks of an unseen kind that were trained on (for a cross-type task:
            whose codec was), each with its kind.
        mismatches: what differs between TRAIN and TEST for tasks in both.
        leaks: images in both, as (path in TRAIN, path in TEST), ``set/hq_path``.
    """

    train: Size
    test: Size
    alike: tuple[str, ...]
    unseen: tuple[tuple[str, str], ...]
    missing: tuple[tuple[str, tuple[str, ...]], ...]
    not_unseen: tuple[tuple[str, str], ...]
    mismatches: tuple[Mismatch, ...]
    leaks: tuple[tuple[str, str], ...]

    @property
    def notes(self) -> list[str]:
        """What is worth knowing and as it should be, one sentence each."""
        notes = [
            f"not trained on, as {kind} means: {', '.join(key for key, _ in group)}"
            for kind, group in groupby(sorted(self.unseen, key=_kind), _kind)
        ]
        return notes + list(_differences(m for m in self.mismatches if m.name in HARMLESS))

    @property
    def problems(self) -> list[str]:
        """What makes scores on TEST misleading, one sentence each; empty when all is well."""
        problems = []
        if not self.train.tasks:
            problems.append("TRAIN has nothing to train on: all rows failed or are for testing")
        if not self.test.tasks:
            problems.append("TEST has nothing to test: all rows failed or are of split train")
        for levels, lacking in groupby(self.missing, lambda item: item[1]):
            keys = ", ".join(key for key, _ in lacking)
            trained = f"TRAIN has {', '.join(levels)}" if levels else "TRAIN has nothing like it"
            problems.append(f"tested but not trained on: {keys}; {trained}")
        for kind, group in groupby(sorted(self.not_unseen, key=_kind), _kind):
            what = "their codec was trained on" if kind == "cross-type" else "they were trained on"
            keys = ", ".join(key for key, _ in group)
            problems.append(f"tested as {kind}, but {what}: {keys}")
        problems += _differences(m for m in self.mismatches if m.name not in HARMLESS)
        if self.leaks:
            some = ", ".join(_same(*pair) for pair in self.leaks[:5])
            more = f" and {len(self.leaks) - 5} more" if len(self.leaks) > 5 else ""
            problems.append(f"images in TRAIN and TEST ({len(self.leaks)}): {some}{more}")
        return problems


def check(train: Manifest, test: Manifest) -> Report:
    """Compare what was trained on with what is tested; reads the manifests only.

    Of ``train``, rows of split ``test`` and tasks of kind cross-degree or cross-type do not count
    as trained on; of ``test``, rows of split ``train`` are not tested. So one data set that holds
    both splits can be given twice. Failed rows never count. Photos are the same when their pixels
    (``photo_sha256``) are, whether they were coded whole or in tiles; a photo whose pixels are a
    tile of another is that photo, too. A photo that was scaled or coded again is not recognised.
    """
    learned, tested = _rows(train, "test"), _rows(test, "train")
    trained: dict[str, list[Profile]] = {}
    levels: dict[str, dict[str, None]] = {}
    for row in _tasks(learned):
        if row["kind"] not in UNSEEN:
            trained.setdefault(row["task"], []).append(_profile(row))
            levels.setdefault(row["codec"], {})[row["task"]] = None
    unseen: dict[tuple[str, str], None] = {}
    not_unseen: dict[tuple[str, str], None] = {}
    missing: dict[str, tuple[str, ...]] = {}
    mismatches: dict[Mismatch, None] = {}
    keys: dict[str, None] = {}  # a set that keeps the order
    for row in _tasks(tested):
        key, kind, codec = row["task"], row["kind"], row["codec"]
        keys[key] = None
        known = trained.get(key, [])
        if kind in UNSEEN and (known or (kind == "cross-type" and codec in levels)):
            not_unseen[key, kind] = None
        elif kind in UNSEEN:
            unseen[key, kind] = None
        elif not known:
            missing[key] = tuple(levels.get(codec, ()))
        if known:
            mismatches |= dict.fromkeys(_nearest(key, known, _profile(row)))
    strange = {*missing, *(key for key, _ in (*unseen, *not_unseen))}
    strange |= {m.task for m in mismatches if m.name not in HARMLESS}
    return Report(
        Size(_images(learned), len(trained)),
        Size(_images(tested), len(keys)),
        tuple(key for key in keys if key not in strange),
        tuple(unseen),
        tuple(missing.items()),
        tuple(not_unseen),
        tuple(mismatches),
        _leaks(learned, tested),
    )


def _rows(manifest: Manifest, other_split: str) -> pa.Table:
    """The usable rows that are not of the other side's split."""
    table = manifest.usable.table
    return table.filter(pc.not_equal(table["split"], other_split))


def _distinct(table: pa.Table, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """The different combinations of values in ``columns``, in no order."""
    found: list[dict[str, Any]] = table.group_by(list(columns)).aggregate([]).to_pylist()
    return found


def _tasks(table: pa.Table) -> list[dict[str, Any]]:
    """Every task and way of making it, in the codecs' and their levels' order."""
    return sorted(_distinct(table, _TASK), key=_place)


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return *codecs.rank(row["codec"], row["level"]), *(str(row[name]) for name in _TASK)


def _profile(row: Mapping[str, Any]) -> Profile:
    return codecs.read_settings(row["settings"]) | {name: row[name] for name in _IMPLEMENTATION}


def _nearest(key: str, known: list[Profile], test: Profile) -> list[Mismatch]:
    """What differs from the most similar way in which the task was made for training."""
    found = []
    for train in known:
        names = dict.fromkeys([*train, *test])
        pairs = ((name, train.get(name), test.get(name)) for name in names)
        found.append([Mismatch(key, name, old, new) for name, old, new in pairs if old != new])
    return min(found, key=lambda m: (sum(one.name not in HARMLESS for one in m), len(m)))


def _images(table: pa.Table) -> int:
    return int(pc.count_distinct(table["photo_sha256"]).as_py())


def _leaks(train: pa.Table, test: pa.Table) -> tuple[tuple[str, str], ...]:
    """(path in TRAIN, path in TEST) of every photo in both; the last path of several.

    Two photos with an equal tile are not the same: the tile may be nothing but white sky.
    """
    (photos, tiles), (tested, tested_tiles) = _places(train), _places(test)
    pairs = {
        right[pixels]: left[pixels]
        for left, right in ((photos, tested_tiles), (tiles, tested), (photos, tested))
        for pixels in left.keys() & right.keys()
    }
    return tuple(sorted((left, right) for right, left in pairs.items()))


def _places(table: pa.Table) -> tuple[dict[str, str], dict[str, str]]:
    """``set/hq_path`` by the pixels of photos, and by the pixels of tiles."""
    photos, tiles = {}, {}
    for row in sorted(_distinct(table, _IMAGE), key=_path):
        place = f"{row['set']}/{row['hq_path']}"
        photos[row["photo_sha256"]] = place
        if row["hq_sha256"] != row["photo_sha256"]:
            tiles[row["hq_sha256"]] = place
    return photos, tiles


def _path(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["set"], row["hq_path"]


def _kind(item: tuple[str, str]) -> str:
    return item[1]


def _same(train: str, test: str) -> str:
    return train if train == test else f"{train} is {test}"


def _differences(mismatches: Iterable[Mismatch]) -> Iterator[str]:
    """One sentence for all tasks that differ in the same way."""
    groups: dict[str, list[str]] = {}
    for one in mismatches:
        old, new = (_short(one.name, value) for value in (one.train, one.test))
        groups.setdefault(f"{one.name} is {old} in TRAIN, {new} in TEST", []).append(one.task)
    return (f"{', '.join(tasks)}: {text}" for text, tasks in groups.items())


def _short(name: str, value: Any) -> str:
    text = "none" if value is None else str(value)
    return text[:12] if name == "weights_sha256" else text
