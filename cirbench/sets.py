"""Known image sets (``manifests/sets/*.toml``): what belongs to each, and in which split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from . import suggest, toml
from .errors import CirbenchError
from .resources import data_dir

SPLITS = ("train", "test")

_MOST = 1_000_000  # images that one line may stand for
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_SIZE = re.compile(r"(\d+)x(\d+)")
_SHA256 = re.compile(r"[0-9a-f]{64}")

Size = tuple[int, int]
"""(width, height) in pixels."""


@dataclass(frozen=True)
class Expected:
    """One image that belongs to a known set.

    Attributes:
        name: its file name without folder and ending.
        split: "train" or "test".
        part: what the set's publishers call that part ("val", "flickr2k"); mostly the split.
        sizes: the sizes it may have; empty when not known.
        sha256: of the decoded pixels (uint8 RGB, row by row); "" when not known.
    """

    name: str
    split: str
    part: str
    sizes: tuple[Size, ...] = ()
    sha256: str = ""


@dataclass(frozen=True)
class KnownSet:
    """A published collection of images.

    Attributes:
        name: its name in columns and folders.
        title: what it is.
        source: the page where it can be had.
        licence: its terms, in short.
        decoder: what decoded the pixels behind the hashes; "" when no hashes are known.
        images: all of them, in the order of the file.
    """

    name: str
    title: str
    source: str
    licence: str
    decoder: str
    images: tuple[Expected, ...]

    @property
    def is_hashed(self) -> bool:
        """Whether its images can be recognised by their pixels, not only by their names."""
        return all(image.sha256 for image in self.images)

    @cached_property
    def parts(self) -> dict[str, int]:
        """Number of images in each published part."""
        return dict(Counter(image.part for image in self.images))

    @cached_property
    def by_sha256(self) -> dict[str, Expected]:
        """Images by pixel hash; empty for a set whose hashes are not known."""
        return {image.sha256: image for image in self.images if image.sha256}

    @cached_property
    def by_name(self) -> dict[str, Expected]:
        """Images by :func:`stem`."""
        return {stem(image.name): image for image in self.images}


def stem(path: str) -> str:
    """What two files of one image have in common: the name without folder, ending and case."""
    name = PurePosixPath(path).name
    head, dot, ending = name.rpartition(".")
    return (head if dot and head and ending.isalnum() else name).casefold()


def names(folder: Path | None = None) -> list[str]:
    """Names of the sets described in ``folder`` (default: those that come with cirbench)."""
    return sorted(file.stem for file in _folder(folder).glob("*.toml"))


def load(name: str, folder: Path | None = None) -> KnownSet:
    """The set called ``name``. Raises CirbenchError when there is none or its file is broken."""
    file = _folder(folder) / f"{name}.toml"
    if name not in names(folder):
        raise CirbenchError(f"no set is called {name!r}; {suggest.hint(name, names(folder))}")
    try:
        return parse(name, file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, CirbenchError) as error:
        raise CirbenchError(f"{file}: {error}") from error


def load_all(folder: Path | None = None) -> list[KnownSet]:
    """All sets of ``folder``, by name."""
    return [load(name, folder) for name in names(folder)]


def named(text: str, known: list[KnownSet]) -> KnownSet | None:
    """The set that a name means: ``LIVE1`` and ``live-1`` mean live1."""
    plain = re.sub(r"[^a-z0-9]", "", text.casefold())
    return next((one for one in known if one.name == plain), None)


def _folder(folder: Path | None) -> Path:
    return data_dir("manifests") / "sets" if folder is None else folder


def parse(name: str, text: str) -> KnownSet:
    """A set from TOML text.

    Either ``[[split]]`` tables with ``name`` ("train" or "test"), ``part`` (the published name),
    ``count`` and ``images``, whose lines are ``NAME [SIZE] [SHA256]``: NAME may hold one range
    ``{0001..0800}``, SIZE is ``768x512`` or alternatives ``768x512|512x768``. Or ``[[photo]]``
    tables with ``file``, ``width``, ``height``, ``sha256`` and ``split`` (the sample photos).

    Raises CirbenchError for anything else.
    """
    raw = toml.loads(text)
    try:
        images = tuple(_photos(raw)) if "photo" in raw else tuple(_images(raw))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CirbenchError(f"a value is missing or of another kind ({error})") from error
    texts = {key: raw.get(key, "") for key in ("title", "source", "licence", "decoder")}
    for key, value in texts.items():
        if not isinstance(value, str) or not (value or key == "decoder"):
            raise CirbenchError(f"the set needs a {key} (text)")
    if not images:
        raise CirbenchError("the set has no images")
    twice = [n for n, count in Counter(stem(image.name) for image in images).items() if count > 1]
    if twice:
        raise CirbenchError(f"the image {twice[0]!r} is listed twice")
    return KnownSet(name, images=images, **texts)


def _photos(raw: dict[str, Any]) -> Iterator[Expected]:
    for photo in raw["photo"]:
        size = (photo["width"], photo["height"])
        name = PurePosixPath(photo["file"]).stem
        if not all(type(side) is int for side in size) or photo["split"] not in SPLITS:
            raise CirbenchError(f"{name} needs a width, a height and a split (train or test)")
        yield Expected(name, photo["split"], photo["split"], (size,), str(photo["sha256"]))


def _images(raw: dict[str, Any]) -> Iterator[Expected]:
    for table in raw.get("split", []):
        split, part = table.get("name"), table.get("part", table.get("name"))
        if split not in SPLITS or not isinstance(part, str):
            raise CirbenchError(f"split {split!r} must be one of {', '.join(SPLITS)}")
        listed = [
            image
            for line in table.get("images", "").splitlines()
            if line.strip()
            for image in _line(line, split, part)
        ]
        if len(listed) != table.get("count"):
            raise CirbenchError(
                f"{part} lists {len(listed)} images, its count says {table.get('count')}"
            )
        yield from listed


def _line(line: str, split: str, part: str) -> Iterator[Expected]:
    """``kodim{01..24} 768x512|512x768`` as its images."""
    name, *rest = line.split()
    sha256 = rest.pop() if rest and _SHA256.fullmatch(rest[-1]) else ""
    sizes = [_SIZE.fullmatch(size) for size in rest[0].split("|")] if rest else []
    if len(rest) > 1 or not all(sizes):
        raise CirbenchError(f"{line.strip()!r} is not NAME [SIZE] [SHA256]")
    allowed = tuple((int(size[1]), int(size[2])) for size in sizes if size)
    for one in _expanded(name):
        yield Expected(one, split, part, allowed, sha256)


def _expanded(name: str) -> Iterator[str]:
    found = _RANGE.search(name)
    if not found:
        yield name
        return
    first, last = found.groups()
    if int(last) - int(first) >= _MOST:
        raise CirbenchError(f"{name!r} stands for more than {_MOST} images")
    for number in range(int(first), int(last) + 1):
        yield name[: found.start()] + str(number).zfill(len(first)) + name[found.end() :]
