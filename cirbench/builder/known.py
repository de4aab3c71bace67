"""Known image sets in a build: what a source is called, the splits of its images, what is said.

A set's name is part of every row's id and path, so it is settled before a row is made: the name the
user gave, or, for a folder that nobody named, that of the known set it is by its pixels. Splits are
settled when the rows are there: by then every photo has been hashed, and none is decoded twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from PIL import Image

from .. import duplicates, recognise, roots, sets, splits
from ..duplicates import Item
from ..errors import CirbenchError
from ..sets import KnownSet, Size
from ..sources import Found, Source, find
from ..splits import Key
from . import collect
from .journal import Journal


def unnamed(given: Sequence[str], set_name: str | None, found: Sequence[Source]) -> frozenset[str]:
    """Of the sources parsed from ``given`` texts, the sets that are only called after a folder."""
    if set_name or not given:
        return frozenset()
    names = {text.partition("=")[0] for text in given if "=" in text}
    return frozenset(source.set for source in found) - names


def rename(
    given: Sequence[Source], unnamed: Collection[str], out: Path, jobs: int
) -> tuple[list[Source], list[str]]:
    """Call folders that nobody named after the known set they are by content.

    A folder keeps the name that it has in the data set ``out`` already, and its own name when
    another source has the known one. Only folders whose images have a known set's sizes are
    decoded, so a folder of thousands of other photos costs nothing.

    Returns:
        The sources, and a remark on every one that was renamed.
    """
    known, recorded = known_sets(), roots.read(out)
    renamed: list[Source] = []
    remarks = []
    for source in given:
        name = source.set
        if name in unnamed and not source.files and name not in recorded:
            same = [n for n, root in recorded.items() if _same(root, source.root)]
            taken = {*recorded, *(s.set for s in given), *(s.set for s in renamed)}
            name = next(iter(same), "")
            identity = None if name else _identify(source, known, jobs)
            if identity and identity.name not in taken:
                name = identity.name
                remarks.append(f"{source.root} is the set {name} by its pixels")
        renamed.append(Source(name or source.set, source.root, source.split, source.files))
    return renamed, remarks


def known_sets() -> list[KnownSet]:
    """The known sets that a user's folder may be; the sample photos are none."""
    return [one for one in sets.load_all() if one.name != "sample"]


def _same(one: Path, other: Path) -> bool:
    return one.is_dir() and one.samefile(other)


def _identify(source: Source, known: Sequence[KnownSet], jobs: int) -> KnownSet | None:
    """The known set in a folder; decodes only what may be of one."""
    most = _most(known)
    files = [image.file for image in islice(find(source), most + 1) if not image.problem]
    if not 0 < len(files) <= most:
        return None
    sizes = [_size(file) for file in files]
    if not any(recognise.may_be(sizes, one) for one in known):
        return None
    read = collect.read_all({str(file): file for file in files}, jobs, quiet=True)
    return recognise.identify([one.image for one in read], known)


def _most(known: Sequence[KnownSet]) -> int:
    """How many images a folder that is a known set can have (:func:`recognise.identify`)."""
    return max((2 * len(one.images) for one in known if one.is_hashed), default=0)


def _size(file: Path) -> Size:
    """Size by the file's header; (0, 0) when Pillow cannot read it."""
    try:
        with Image.open(file) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0, 0


def settle(
    sources: Sequence[Source],
    found: Sequence[Found],
    journal: Journal,
    wanted: splits.Ratio | Mapping[Key, str] | None,
    partial: bool,
) -> list[str]:
    """Set the splits of all images of a build, and compare known sets with what is there.

    ``wanted`` (``--splits``) comes first; an image that it does not name keeps the split that it
    has, from ``--split`` or an earlier build, else gets the one that its known set has for it.

    Args:
        sources: what was built.
        found: all its images.
        journal: knows their hashes, and the data set's other images; gets the splits.
        wanted: a ratio, or the split of each image that a file lists.
        partial: not all images were asked for, so none is missing.

    Returns:
        One remark on every known set and on every two places that share images.

    Raises CirbenchError, and sets nothing, when ``wanted`` puts equal pictures into both splits.
    """
    known, names = known_sets(), {*roots.read(journal.path.parent), *(s.set for s in sources)}
    before = {name: journal.splits(name) for name in sorted({*names, "sample"})}
    after: dict[Key, str] = {}  # only what changes: photos may be many

    def split_of(name: str, path: str) -> str:
        return after.get((name, path)) or before[name].get(path, "")

    remarks = []
    for source in sources:
        mine = [image for image in found if image.set == source.set]
        one = _known(source, mine, known, journal)
        if one is not None:
            report = recognise.compare(one, [*_images(mine, journal)])
            remarks.append(report.line(source.set, partial or bool(source.files)))
            for path, split in report.splits.items():
                if not split_of(source.set, path):
                    after[source.set, path] = split
        if isinstance(wanted, splits.Ratio):
            for image in _images(mine, journal):
                split = wanted.of(image.sha256)
                if split != split_of(source.set, image.path):
                    after[source.set, image.path] = split
    if isinstance(wanted, Mapping):
        after |= wanted
    shared = [image for image in journal.shared_images() if image.set in before]
    items = [Item(i.set, split_of(i.set, i.path), i.path, i.hq_sha256) for i in shared]
    if wanted is not None:
        keys = [(item.set, item.path) for item in items]
        hashes = {key: item.sha256 for key, item in zip(keys, items, strict=True)}
        assigned = {key: item.split for key, item in zip(keys, items, strict=True)}
        _refuse_conflicts(splits.conflicts(hashes, assigned))
    for (name, path), split in after.items():
        if before[name].get(path, split) != split:
            journal.set_split(name, path, split)
    return remarks + duplicates.summary(duplicates.find(items, threshold=-1))


def _known(
    source: Source, found: Sequence[Found], known: list[KnownSet], journal: Journal
) -> KnownSet | None:
    """The known set that a built source is, by its name or its pixels."""
    if source.set == "sample":
        return None
    one = sets.named(source.set, known)
    if one is None and len(found) <= _most(known):
        one = recognise.identify([*_images(found, journal)], known)
    return one


def _images(found: Sequence[Found], journal: Journal) -> Iterator[recognise.Image]:
    """Those of the images found that could be read."""
    for image in found:
        record = journal.image(image.set, image.path)
        if record is not None:
            yield recognise.Image(record.path, record.width, record.height, record.hq_sha256)


def _refuse_conflicts(conflicts: Sequence[tuple[Key, Key]]) -> None:
    if conflicts:
        train, test = ("/".join(key) for key in conflicts[0])
        raise CirbenchError(
            f"--splits would put {train} into train and {test} into test, which are the same "
            f"picture ({len(conflicts)} such pairs); no split was changed: correct the list, or "
            "leave one of them out"
        )
