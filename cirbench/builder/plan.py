"""What has to be built: images x tasks, minus what the journal already has."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import Any

from .. import codecs, tiles
from ..recipe import Task
from ..sources import Found
from ..tiles import Box, Tiling
from .journal import ImageRecord, Journal

_LONGEST = 228  # bytes of a file name without a tile's place and an ending; file systems take 255
_LIKE_A_TILE = re.compile(r"_[0-9]+_[0-9]+$")


@dataclass(frozen=True)
class Work:
    """One row to make.

    Attributes:
        found: the HQ file.
        name: its name in the data set's folders.
        task: codec, level and settings.
        box: the tile to code, or None for the whole photo.
        side: the size of tiles that was asked for.
    """

    found: Found
    name: str
    task: Task
    box: Box | None = None
    side: int = 0

    @property
    def tile(self) -> str:
        """The tile as ids take it: ``""`` for the whole photo."""
        return str(self.box or "")

    @property
    def place(self) -> tuple[str, str]:
        """Folder of the set, and the row's name in it: ``("live1", "bikes")``; of a tile
        ``("live1@512", "bikes_0_256")``.
        """
        if self.box is None:
            return self.found.set, self.name
        return tiles.folder(self.found.set, self.side), self.name + tiles.suffix(self.box)


def digest(*parts: str) -> str:
    """First 32 hex digits of SHA-256 over the parts, unambiguously joined."""
    joined = b"".join(len(part.encode()).to_bytes(8, "little") + part.encode() for part in parts)
    return hashlib.sha256(joined).hexdigest()[:32]


def row_id(set_name: str, path: str, tile: str, hq_sha256: str, task: Task) -> str:
    """The manifest's ``row_id``: unique per set, image, tile, pixels, task and settings."""
    return digest(set_name, path, tile, hq_sha256, task.key, task.settings_json)


def recorded_row_id(row: Mapping[str, Any]) -> str:
    """What :func:`row_id` gives for a row of a manifest, from its other columns.

    Raises CirbenchError for an unknown codec or level.
    """
    level = row["level"] if row["level_value"] is None else row["level_value"]
    codec = codecs.get(row["codec"])
    key = f"{codec.name}-{codec.label(codec.level(level))}"
    parts = (row["set"], row["hq_path"], row["tile"] or "", row["hq_sha256"])
    return digest(*parts, key, row["settings"])


def content_id(hq_sha256: str, task: Task) -> str:
    """The manifest's ``content_id``: equal work has equal ids, whatever the set or file name."""
    return digest(hq_sha256, task.key, task.settings_json)


def image_error_id(set_name: str, path: str) -> str:
    """Row id of the one error row of an HQ file that cannot be used."""
    return digest(set_name, path, "unusable")


def assign_names(found: Sequence[Found], known: Mapping[str, str]) -> Mapping[str, str]:
    """Data-set name of every image of one set, by path: no two ever share one.

    ``a/x.png`` is called ``a/x``; where another file of the set would be called the same (also on
    a file system that ignores case), the ending stays: ``a/x.jpg``. Very long file names are cut
    and get a digest. Names once given, ``known`` by path, are kept.
    """
    if all(image.path in known for image in found):
        return known
    names = dict(known)
    taken = {_folded(name) for name in names.values()}
    stems = Counter(_folded(_stem(image.path)) for image in found)
    # A folder "a.png" leaves no room for a file "a" + ".png".
    folders = {_folded(_stem(part)) for image in found for part in _folders(image.path)}
    folders |= {_LIKE_A_TILE.sub("", name) for name in folders}  # "a_0_0.png" and a tile of "a"
    for image in found:
        if image.path in names:
            continue
        stem = _stem(image.path)
        alone = stems[_folded(stem)] == 1 and _folded(stem) not in folders
        candidates = [_short(stem)] if alone else []
        candidates += [_short(image.path), _short(f"{image.path}-{digest(image.path)[:8]}")]
        free = (c for c in candidates if _folded(c) not in taken and _folded(c) not in folders)
        names[image.path] = next(free)
        taken.add(_folded(names[image.path]))
    return names


def _folders(path: str) -> Iterator[str]:
    """``a`` and ``a/b`` of ``a/b/c.png``."""
    parts = path.split("/")[:-1]
    return ("/".join(parts[: end + 1]) for end in range(len(parts)))


def _short(name: str) -> str:
    """``name`` with parts that leave no room for an ending cut to a prefix and a digest."""
    return "/".join(
        part
        if len(part.encode()) <= _LONGEST
        else part.encode()[: _LONGEST - 33].decode(errors="ignore") + "-" + digest(part)
        for part in name.split("/")
    )


def _stem(path: str) -> str:
    head, dot, _ = path.rpartition(".")
    return head if dot else path


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


@dataclass
class Plan:
    """The rows to make and what is known of them before starting.

    Attributes:
        images: every image found, with its name in the data set; of a photo that is cut, every
            tile.
        pending: for each image (by index) the tasks still to do.
        done: rows that need nothing.
        side: the size of tiles that was asked for.
    """

    images: list[tuple[Found, str, Box | None]] = field(default_factory=list)
    pending: dict[int, Sequence[Task]] = field(default_factory=dict)
    done: int = 0
    side: int = 0

    def __len__(self) -> int:
        return sum(len(tasks) for tasks in self.pending.values())

    def work(self, abreast: int = 1) -> Iterator[Work]:
        """The rows to make, ``abreast`` images at a time, each task of all of them in turn.

        A photo is decoded once for all its tasks and tiles, which follow each other.
        """
        pending = iter(self.pending.items())
        while group := list(islice(pending, abreast)):
            columns = zip_longest(*(tasks for _, tasks in group))
            for column in columns:
                for (index, _), task in zip(group, column, strict=True):
                    if task is not None:
                        found, name, box = self.images[index]
                        yield Work(found, name, task, box, self.side)


def make(
    found: Sequence[Found],
    tasks: Sequence[Task],
    journal: Journal,
    present: Container[str],
    tiling: Tiling | None = None,
) -> Plan:
    """Plan ``tasks`` for all images, minus finished rows whose files are there.

    Args:
        found: all images of all sources.
        tasks: what is wanted of each image.
        journal: what is done; images whose size or time changed count as unknown.
        present: row ids of finished rows whose files exist in full.
        tiling: how photos are cut. The journal has to know the size of every photo that can be
            read; the others stay whole and fail as they are.

    Returns:
        The plan; nothing has been written.
    """
    plan = Plan(side=tiling.side if tiling else 0)
    lacking: dict[tuple[int, ...], list[Task]] = {}  # most images lack the same tasks
    for set_name in dict.fromkeys(image.set for image in found):
        mine = [image for image in found if image.set == set_name]
        names = assign_names(mine, journal.names(set_name))
        coded = journal.tiles(set_name) if tiling else {}
        for image in mine:
            record = journal.image(set_name, image.path)
            record = record if is_current(image, record) else None
            for box in _boxes(record, tiling):
                index = len(plan.images)
                plan.images.append((image, names[image.path], box))
                sha256 = record.hq_sha256 if record else None
                if box is not None:
                    sha256 = coded.get((image.path, str(box)))
                if sha256 is None:
                    plan.pending[index] = tasks
                    continue
                ids = (row_id(set_name, image.path, str(box or ""), sha256, t) for t in tasks)
                todo = tuple(place for place, key in enumerate(ids) if key not in present)
                plan.done += len(tasks) - len(todo)
                if todo:
                    plan.pending[index] = lacking.setdefault(todo, [tasks[i] for i in todo])
    return plan


def _boxes(record: ImageRecord | None, tiling: Tiling | None) -> Iterator[Box | None]:
    if record is None or tiling is None:
        yield None
    else:
        yield from tiling.boxes(record.width, record.height)


def is_current(image: Found, record: ImageRecord | None) -> bool:
    """Whether ``record`` is what the image's file still is, by its size and time."""
    return (
        record is not None
        and not image.problem
        and (record.size, record.mtime_ns) == (image.size, image.mtime_ns)
    )
