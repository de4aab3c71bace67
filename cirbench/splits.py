"""``--splits FILE|RATIO``: which images are for training and which for testing, image by image.

A ratio decides each image alone, by a hash of its pixels and a seed: equal pictures always land in
the same split, in whatever order, under whatever name, and whichever other images there are.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import toml
from .errors import CirbenchError
from .sets import SPLITS
from .sources import Found

_SHARE = r"\d*\.?\d+"
_RATIO = re.compile(rf"{_SHARE}|(train|test)={_SHARE}(,(train|test)={_SHARE})?")

Key = tuple[str, str]
"""(set, path) of an image."""


@dataclass(frozen=True)
class Ratio:
    """A share of images for training; the rest is for testing.

    Attributes:
        train: expected share of training images, 0 to 1.
        seed: another seed gives another, independent assignment.
    """

    train: float
    seed: int = 0

    def of(self, sha256: str) -> str:
        """The split of the image with this pixel hash.

        The first 64 bits of SHA-256 over seed and pixel hash, as a fraction of 1, are below
        ``train`` for training images: a larger share only ever moves images from test to train.
        """
        digest = hashlib.sha256(f"{self.seed}:{sha256}".encode()).digest()
        return "train" if int.from_bytes(digest[:8], "big") < self.train * 2**64 else "test"


@dataclass(frozen=True)
class Listed:
    """Splits from a file.

    Attributes:
        file: where they come from.
        entries: (path as written, split, line), in the file's order.
    """

    file: Path
    entries: tuple[tuple[str, str, int], ...]

    def assign(self, images: Iterable[Found]) -> dict[Key, str]:
        """The split of every image that the file lists.

        An entry names an image as ``path`` (inside its source) or ``set/path``.

        Raises CirbenchError naming file and line when no image is called so or two are.
        """
        known: dict[str, list[Key]] = defaultdict(list)
        for image in images:
            for name in (image.path, f"{image.set}/{image.path}"):
                known[name].append((image.set, image.path))
        assigned: dict[Key, str] = {}
        for path, split, line in self.entries:
            keys = known.get(path, [])
            if not keys:
                raise CirbenchError(
                    f"{self.file} line {line}: no image of this build is called {path!r}; "
                    "write paths inside the source's folder, or SET/PATH"
                )
            if len(keys) > 1:
                sets = " and ".join(sorted(key[0] for key in keys))
                raise CirbenchError(
                    f"{self.file} line {line}: {path!r} is in {sets}; write {keys[0][0]}/{path}"
                )
            before = assigned.setdefault(keys[0], split)
            if before != split:
                raise CirbenchError(
                    f"{self.file} line {line}: {path!r} is {split} here and {before} before"
                )
        return assigned


def parse(text: str, seed: int = 0) -> Ratio | Listed:
    """The value of ``--splits``: a ratio (``0.9``, ``train=0.9,test=0.1``) or a file's name.

    Raises CirbenchError for a ratio that is none, a missing file, or (naming the line) a bad file.
    """
    file = Path(text).expanduser()
    if file.is_file():
        return read(file)
    if _RATIO.fullmatch(text):
        return Ratio(_train_share(text), seed)
    raise CirbenchError(
        f"--splits {text} is neither a file nor a ratio; a ratio is written 0.9 or "
        "train=0.9,test=0.1"
    )


def _train_share(text: str) -> float:
    if "=" not in text:
        shares = {"train": float(text)}
    else:
        parts = [part.split("=") for part in text.split(",")]
        shares = {name: float(value) for name, value in parts}
        if len(shares) < len(parts):
            raise CirbenchError(f"--splits {text} names {parts[0][0]} twice")
    train = shares.get("train", 1 - shares.get("test", 0))
    if not 0 <= train <= 1 or abs(train + shares.get("test", 1 - train) - 1) > 1e-9:
        raise CirbenchError(f"--splits {text}: shares lie between 0 and 1 and add up to 1")
    return train


def read(file: Path) -> Listed:
    """Splits from a TOML file or a list of ``path,split`` lines.

    TOML (``.toml``): ``train = ["a.png", ...]`` and ``test = [...]``. Anything else: one image a
    line, ``path,split`` as CSV; empty lines, lines that start with ``#`` and a header line
    ``path,split`` are passed over.

    Raises CirbenchError naming file and line.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CirbenchError(f"{file} cannot be read as text ({error})") from error
    entries = tuple(_toml(file, text) if file.suffix == ".toml" else _csv(file, text))
    if not entries:
        raise CirbenchError(f"{file} lists no images; write lines like bikes.png,test")
    return Listed(file, entries)


def _csv(file: Path, text: str) -> Iterator[tuple[str, str, int]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            cells = [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True))]
        except csv.Error as error:  # a cell of more than 131,072 characters
            raise CirbenchError(f"{file} line {number}: {error}") from error
        if number == 1 and [cell.casefold() for cell in cells] == ["path", "split"]:
            continue
        if len(cells) != 2 or not cells[0] or cells[1] not in SPLITS:
            raise CirbenchError(
                f"{file} line {number}: {line.strip()!r} is not path,split with split train or test"
            )
        yield cells[0], cells[1], number


def _toml(file: Path, text: str) -> Iterator[tuple[str, str, int]]:
    try:
        raw = toml.loads(text)
    except CirbenchError as error:
        raise CirbenchError(f"{file}: {error}") from error
    for split, paths in raw.items():
        whole = isinstance(paths, list) and all(isinstance(path, str) for path in paths)
        if split not in SPLITS or not whole:
            raise CirbenchError(
                f'{file} line {_line(text, split)}: {split} is not train = ["path", ...] or test'
            )
        for path in paths:
            yield path, split, _line(text, json.dumps(path, ensure_ascii=False), path)


def _line(text: str, *wanted: str) -> int:
    """The first line that holds the first of ``wanted`` that is there at all."""
    lines = text.splitlines()
    hits = (n for one in wanted for n, line in enumerate(lines, 1) if one in line)
    return next(hits, 1)


def conflicts(hashes: Mapping[Key, str], split_of: Mapping[Key, str]) -> Sequence[tuple[Key, Key]]:
    """Pairs of equal pictures (by pixel hash) of which one is in train and the other in test."""
    places: dict[str, dict[str, Key]] = defaultdict(dict)
    for key in sorted(hashes):
        places[hashes[key]].setdefault(split_of.get(key, ""), key)
    return [(one["train"], one["test"]) for one in places.values() if {"train", "test"} <= {*one}]
