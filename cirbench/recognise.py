"""Recognise known image sets by what their images are, whatever the files are called.

Pure functions over (path, width, height, pixel hash); nothing is read here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from .sets import Expected, KnownSet, Size, stem

_LISTED = 5  # names in a one-line report


@dataclass(frozen=True)
class Image:
    """One image of a user's collection.

    Attributes:
        path: POSIX path inside the collection.
        width, height: in pixels, orientation applied.
        sha256: of the decoded pixels (uint8 RGB, row by row).
    """

    path: str
    width: int
    height: int
    sha256: str

    @property
    def size(self) -> Size:
        """(width, height)."""
        return self.width, self.height


@dataclass(frozen=True)
class Report:
    """How a collection compares with a known set.

    Attributes:
        known: the set.
        found: the set's image that each recognised path is: by its pixels, or, when the set's
            hashes are not known, by name and size.
        copies: recognised paths beyond the first of each image.
        altered: paths with the name of an image that was not found, but other pixels (or, without
            hashes, another size), with that image.
        extra: paths that are nothing of the set's.
        missing: images of the set that are not there, of the parts of which anything is.
    """

    known: KnownSet
    found: Mapping[str, Expected]
    copies: tuple[str, ...]
    altered: Mapping[str, Expected]
    extra: tuple[str, ...]
    missing: tuple[Expected, ...]

    @property
    def is_complete(self) -> bool:
        """All images of at least one part are there, unaltered."""
        return bool(self.found) and not self.missing and not self.altered

    @property
    def splits(self) -> dict[str, str]:
        """The split of every path that the set has a say in; altered images go by their name."""
        return {path: image.split for path, image in (*self.found.items(), *self.altered.items())}

    def line(self, label: str = "", partial: bool = False, limit: int | None = _LISTED) -> str:
        """One line: ``live1: 28 of 29; missing ocean; extra foo.png; altered bikes.png``.

        Args:
            label: what the user calls the collection; default: the set's name.
            partial: the user gave only some of the images, so none is missing.
            limit: name at most so many of each kind; None names all.
        """
        known = self.known
        have: dict[str, int] = defaultdict(int)
        for image in {*self.found.values()}:
            have[image.part] += 1
        there = {*have, *(image.part for image in self.altered.values())}
        of = sum(count for part, count in known.parts.items() if part in there or not there)
        called = f"{label} is {known.name}" if label and label != known.name else known.name
        text = f"{called}: {sum(have.values())} of {of}"
        problems = [
            *([] if partial else [("missing", [image.name for image in self.missing])]),
            ("extra", [*self.extra, *self.copies]),
            ("altered", [*self.altered]),
        ]
        listed = [f"{what} {_some(paths, limit)}" for what, paths in problems if paths]
        if not listed:
            text += " images recognised"
        if not known.is_hashed:
            sized = all(image.sizes for image in known.images)
            text += f" by name{' and size' if sized else ''}, no pixel hashes are known"
        if len(known.parts) > 1 and have:
            counts = [f"{part} {have[part]}" for part in known.parts if have[part]]
            text += f" ({', '.join(counts)})"
        return "; ".join((text, *listed))


def _some(paths: Sequence[str], limit: int | None) -> str:
    shown = list(paths[:limit])
    more = len(paths) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def compare(known: KnownSet, images: Collection[Image]) -> Report:
    """Tell which images of a collection are a known set's, and what differs."""
    found: dict[str, Expected] = {}
    first: dict[Expected, str] = {}
    copies = []
    # A file that is also called like its image is the original, the other one the copy.
    order = sorted(images, key=lambda image: (stem(image.path) not in known.by_name, image.path))
    for image in order:
        expected = _match(known, image)
        if expected is None:
            continue
        found[image.path] = expected
        if first.setdefault(expected, image.path) != image.path:
            copies.append(image.path)
    altered = {}
    for image in order:
        by_name = known.by_name.get(stem(image.path))
        if image.path not in found and by_name and by_name not in first:
            altered[image.path] = by_name
    there = {one.part for one in (*first, *altered.values())}
    missing = [
        one
        for one in known.images
        if one not in first and one not in altered.values() and (one.part in there or not there)
    ]
    extra = sorted(i.path for i in images if i.path not in found and i.path not in altered)
    return Report(known, found, tuple(sorted(copies)), altered, tuple(extra), tuple(missing))


def _match(known: KnownSet, image: Image) -> Expected | None:
    if known.is_hashed:
        return known.by_sha256.get(image.sha256)
    expected = known.by_name.get(stem(image.path))
    if expected is None or (expected.sizes and image.size not in expected.sizes):
        return None
    return expected


def recognise(
    images: Collection[Image], known: Collection[KnownSet]
) -> dict[str, tuple[tuple[KnownSet, Expected], ...]]:
    """The known sets, and the image of each, that the pixels of every path belong to.

    Sets whose hashes are not known have no say: names prove nothing. Paths of no set are left out.
    """
    found = {}
    for image in images:
        hits = ((one, one.by_sha256.get(image.sha256)) for one in known)
        sets = tuple((one, expected) for one, expected in hits if expected)
        if sets:
            found[image.path] = sets
    return found


def identify(images: Collection[Image], known: Collection[KnownSet]) -> KnownSet | None:
    """The known set that a collection is, by its pixels; None when it is none.

    At least half of the collection's images have to be the set's, and at least half of the images
    of one of the set's parts have to be there.
    """
    counts: dict[str, int] = defaultdict(int)
    parts: dict[tuple[str, str], set[str]] = defaultdict(set)
    for memberships in recognise(images, known).values():
        for one, expected in memberships:
            counts[one.name] += 1
            parts[one.name, expected.part].add(expected.name)
    best = max(known, key=lambda one: counts[one.name], default=None)
    if best is None or 2 * counts[best.name] < max(1, len(images)):
        return None
    half = any(2 * len(parts[best.name, part]) >= count for part, count in best.parts.items())
    return best if half else None


def may_be(sizes: Sequence[Size], known: KnownSet) -> bool:
    """Whether a collection with images of these sizes can be the set at all (:func:`identify`)."""
    if not known.is_hashed or len(sizes) > 2 * len(known.images):
        return False
    of_set = {size for image in known.images for size in image.sizes}
    return 2 * sum(size in of_set for size in sizes) >= max(1, len(sizes))
