"""What a manifest has to hold before anything in it is believed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from . import codecs
from .errors import CirbenchError
from .schema import ARROW_SCHEMA


def check(table: pa.Table, path: Path) -> None:
    """Refuse tables with missing columns or with paths that leave their root.

    Raises CirbenchError naming the file ``path``, the column and what is wrong there.
    """
    fields = {field.name: field.type for field in table.schema}
    for field in ARROW_SCHEMA:
        if fields.get(field.name) != field.type:
            raise CirbenchError(f"{path} lacks the column {field.name} ({field.type})")
    for column in ("hq_path", "lq_path", "bitstream_path"):
        bad = _leaving(table[column])
        if bad:
            raise CirbenchError(f"{path}: the path {bad!r} in {column} leaves its folder; refused")
    usable = table.filter(pc.not_equal(table["status"], "error"))
    for column in _NEEDED:
        if usable[column].null_count:
            raise CirbenchError(f"{path}: {column} is empty in {usable[column].null_count} rows")
    unknown = sorted(set(usable["codec"].unique().to_pylist()) - set(codecs.names()))
    if unknown:
        raise CirbenchError(f"{path} has rows of a codec {unknown[0]!r} that this cirbench lacks")
    names = table["hq_root"].unique().to_pylist()
    if any(not name or "/" in name or name in (".", "..") for name in names):
        raise CirbenchError(f"{path}: a root name in hq_root is no plain name; refused")


_NEEDED = (
    *("row_id", "set", "hq_path", "hq_sha256", "photo_sha256", "task", "codec", "level"),
    *("settings", "width"),
    *("height", "bitstream_path", "bitstream_sha256", "lq_sha256"),
)


def _leaving(paths: pa.ChunkedArray) -> str | None:
    """The first path that is absolute or climbs out of its folder."""
    pattern = r"^/|(^|/)\.\.(/|$)|\x00"
    bad = paths.filter(pc.fill_null(pc.match_substring_regex(paths, pattern), False))
    return str(bad[0].as_py()) if len(bad) else None
