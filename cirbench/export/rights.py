"""Whose the HQ images are, as far as ``manifests/sets`` says."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from .. import sets
from ..resources import data_dir

UNKNOWN = "not known to cirbench: ask whoever made the photos"


class Right(NamedTuple):
    """Terms of a set's images, or of one photo where each has its own."""

    set: str
    photo: str
    licence: str
    source: str


def of(table: pa.Table) -> list[Right]:
    """What is known of the images of these rows: a line per set, or per photo where they differ.

    Sets are known by their name alone; ``cirbench build`` is what compares their pixels.
    """
    found = []
    for name in sorted(table["set"].unique().to_pylist()):
        if name not in sets.names():
            found.append(Right(name, "", UNKNOWN, "-"))
            continue
        photos = _photos(name)
        mine = table.filter(pc.equal(table["set"], name))["hq_path"].unique().to_pylist()
        if photos:
            found += [_of_photo(name, path, photos.get(path, {})) for path in sorted(mine)]
        else:
            known = sets.load(name)
            found.append(Right(name, "", known.licence, known.source))
    return found


def _photos(name: str) -> Mapping[str, Mapping[str, Any]]:
    """The entries of a set that describes each of its photos, by file; else empty."""
    path = data_dir("manifests") / "sets" / f"{name}.toml"
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    return {photo["file"]: photo for photo in raw.get("photo", ())}


def _of_photo(name: str, path: str, photo: Mapping[str, Any]) -> Right:
    licence = photo.get("licence", UNKNOWN)
    source = ", ".join(filter(None, (photo.get("author"), photo.get("source")))) or "-"
    return Right(name, path, licence, source)
