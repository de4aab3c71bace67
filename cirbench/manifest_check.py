"""What a manifest has to hold before anything in it is believed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from . import codecs
from .errors import CirbenchError
from .limits import MAX_PIXELS
from .printable import line
from .recipe import KINDS
from .schema import ARROW_SCHEMA
from .sets import SPLITS

_REMEDY = "run the build that made it once more, or get it again"


def damaged(path: Path, why: object) -> CirbenchError:
    """What to say of a file that cannot be a manifest."""
    return CirbenchError(f"{path} is damaged or no cirbench manifest ({line(str(why))}); {_REMEDY}")


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """CirbenchError in place of what pyarrow raises for a file that it cannot read."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error


def check_metadata(metadata: Any, path: Path) -> None:
    """Refuse a file ``path`` whose file-level metadata has another form. Raises CirbenchError."""
    recipes = metadata.get("recipes", []) if isinstance(metadata, dict) else None
    forms = {"name": str, "version": int, "sha256": str}
    if not isinstance(recipes, list) or not all(
        isinstance(one, dict) and all(isinstance(one.get(key), forms[key]) for key in forms)
        for one in recipes
    ):
        raise damaged(path, "its metadata")


def check_columns(schema: pa.Schema, path: Path) -> None:
    """Refuse a file ``path`` whose columns are missing. Raises CirbenchError naming one."""
    fields = {field.name: field.type for field in schema}
    for field in ARROW_SCHEMA:
        if fields.get(field.name) != field.type:
            raise CirbenchError(f"{path} lacks the column {field.name} ({field.type}); {_REMEDY}")


def check_rows(table: pa.Table, path: Path) -> None:
    """Refuse rows of unknown codecs, without what every row has, or with paths that leave their
    root.

    Args:
        table: some of the manifest's columns, ``status`` among them; what is there is looked at.
        path: the manifest's file.

    Raises CirbenchError naming the file, the column and what is wrong there.
    """
    columns = set(table.column_names)
    with damage_reported(path):
        table.validate(full=True)  # texts that are no UTF-8
    for column in (name for name in ("hq_path", "lq_path", "bitstream_path") if name in columns):
        bad = _leaving(table[column])
        if bad is not None:
            raise CirbenchError(f"{path}: the path {bad!r} in {column} leaves its folder; refused")
    usable = pc.not_equal(table["status"], "error")
    for column in (name for name in _NEEDED if name in columns):
        empty = pc.sum(pc.and_(usable, pc.is_null(table[column]))).as_py()
        if empty:
            raise CirbenchError(f"{path}: {column} is empty in {empty} rows; {_REMEDY}")
    if "codec" in columns:
        named = table["codec"].filter(usable).unique().to_pylist()
        unknown = sorted(set(named) - set(codecs.names()))
        if unknown:
            raise CirbenchError(
                f"{path} has rows of a codec {unknown[0]!r} that this cirbench lacks; use the "
                "cirbench that made it"
            )
    _check_numbers(table.filter(usable), path)
    if {"codec", "level"} <= columns:
        levels = table.select(["codec", "level"]).filter(usable).group_by(["codec", "level"])
        for row in levels.aggregate([]).to_pylist():
            with _in_file(path):
                codecs.get(row["codec"]).level(row["level"])
    for column in _ONE_OF.keys() & columns:
        strange = set(table[column].filter(usable).unique().to_pylist()) - set(_ONE_OF[column])
        if strange:
            raise CirbenchError(f"{path}: {column} is {min(strange)!r} in some rows; refused")
    if "hq_root" in columns:
        names = table["hq_root"].unique().to_pylist()
        if any(not name or "/" in name or name in (".", "..") for name in names):
            raise CirbenchError(f"{path}: a root name in hq_root is no plain name; refused")


def _check_numbers(usable: pa.Table, path: Path) -> None:
    """Refuse pictures without pixels or of more than a decoder is given, and nonsense as bpp."""
    columns = set(usable.column_names)
    for name, most in (("width", MAX_PIXELS), ("height", MAX_PIXELS), ("bitstream_bytes", 1 << 40)):
        if name in columns and usable.num_rows:
            ends = pc.min_max(usable[name]).as_py()
            if ends["min"] < 1 or ends["max"] > most:
                raise CirbenchError(f"{path}: {name} is {ends['min']} to {ends['max']}; refused")
    if {"width", "height"} <= columns and usable.num_rows:
        pixels = pc.max(pc.multiply(usable["width"], usable["height"])).as_py()
        if pixels > MAX_PIXELS:
            raise CirbenchError(f"{path} has a row of {pixels} pixels, more than {MAX_PIXELS}")
    if "bpp" in columns and not pc.all(pc.is_finite(usable["bpp"]), min_count=0).as_py():
        raise CirbenchError(f"{path}: bpp is no finite number in some rows; refused")


@contextmanager
def _in_file(path: Path) -> Iterator[None]:
    try:
        yield
    except CirbenchError as error:
        raise CirbenchError(f"{path}: {error}") from error


_ONE_OF = {"split": ("", *SPLITS), "kind": KINDS}
_NEEDED = (
    *("row_id", "set", "hq_path", "hq_sha256", "photo_sha256", "task", "codec", "level"),
    *("settings", "width", "split", "kind", "variant", "recipe", "bitstream_bytes", "bpp"),
    *("encoder", "encoder_version", "decoder_version"),
    *("height", "bitstream_path", "bitstream_sha256", "lq_sha256"),
)


def _leaving(paths: pa.ChunkedArray) -> str | None:
    """The first path that is absolute, climbs out of its folder or names nothing in it."""
    pattern = r"^/|(^|/)\.\.(/|$)|\x00|^[./]+$"
    wrong = pc.or_(pc.match_substring_regex(paths, pattern), pc.equal(paths, ""))
    bad = paths.filter(pc.fill_null(wrong, False))
    return str(bad[0].as_py()) if len(bad) else None
