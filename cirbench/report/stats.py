"""Statistics of a data set: its table, what each codec cost in bytes and seconds, and plots."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .. import codecs
from ..builder import store
from ..errors import CirbenchError, InputError, UnavailableError
from . import drawing, summary

FOLDER = "stats"
FORMATS = ("png", "svg")
_HEADER = (
    "codec",
    "images",
    "rows",
    "bytes",
    "PNG/bytes",
    "encode s",
    "encode s/MP",
    "decode s",
    "decode s/MP",
)


def totals(folder: Path) -> list[dict[str, Any]]:
    """One entry per codec, in the codecs' order, then one for ``all`` when there are several.

    Returns:
        Dictionaries with ``codec``, ``images`` (HQ images; every tile is one), ``rows``, ``bytes``
        of bitstreams, ``png_ratio`` (bytes of the LQs' PNGs per byte of their bitstreams, over
        rows whose PNG is stored; else None), ``encode_seconds``, ``decode_seconds`` in total, and
        the same ``_per_megapixel``, both over the rows that were timed (None when none was).

    Raises CirbenchError when the data set has no usable row, InputError when a PNG is missing.
    """
    table = _usable(folder)
    found = []
    for name in codecs.names():
        rows = table.filter(pc.equal(table["codec"], name))
        if len(rows):
            found.append({"codec": name} | _totals(folder, rows))
    if len(found) > 1:
        found.append({"codec": "all"} | _totals(folder, table))
    return found


def _usable(folder: Path) -> pa.Table:
    table = summary.timed(folder)
    if not len(table):
        raise CirbenchError(f"{folder} has no usable rows, so there is nothing to count or plot")
    return table


def _totals(folder: Path, rows: pa.Table) -> dict[str, Any]:
    stored = rows.filter(pc.is_valid(rows["lq_path"]))
    png = _sizes(folder, stored["lq_path"].to_pylist())
    images = rows.group_by(["set", "hq_root", "hq_path", "tile"]).aggregate([])
    entry = {
        "images": len(images),
        "rows": len(rows),
        "bytes": pc.sum(rows["bitstream_bytes"]).as_py(),
        "png_ratio": png / pc.sum(stored["bitstream_bytes"]).as_py() if len(stored) else None,
    }
    for name in ("encode_seconds", "decode_seconds"):
        timed = rows.filter(pc.is_valid(rows[name]))
        seconds = pc.sum(timed[name]).as_py()  # None when nothing was timed
        entry[name] = seconds
        entry[f"{name}_per_megapixel"] = (
            None if seconds is None else seconds / pc.sum(megapixels(timed)).as_py()
        )
    return entry


def megapixels(rows: pa.Table) -> pa.ChunkedArray:
    """Millions of pixels of every row."""
    return pc.divide(pc.cast(pc.multiply(rows["width"], rows["height"]), pa.float64()), 1e6)


def _sizes(folder: Path, paths: Iterable[str]) -> int:
    total = 0
    for path in paths:
        try:
            total += store.inside(folder, path).stat().st_size
        except OSError as error:
            raise InputError(
                f"cannot read {folder / path} ({error.strerror}); see: cirbench verify {folder}"
            ) from error
    return total


def text(folder: Path) -> str:
    """The table of codec and level, and under it the totals per codec."""
    lines = [_HEADER]
    for entry in totals(folder):
        cells = [entry["codec"], *(f"{entry[name]:,}" for name in ("images", "rows", "bytes"))]
        for name, digits in (
            ("png_ratio", ".1f"),
            ("encode_seconds", ".2f"),
            ("encode_seconds_per_megapixel", ".4f"),
            ("decode_seconds", ".2f"),
            ("decode_seconds_per_megapixel", ".4f"),
        ):
            cells.append("-" if entry[name] is None else f"{entry[name]:{digits}}")
        lines.append(tuple(cells))
    return f"{summary.table(folder)}\n\n{summary.aligned(lines, left=1)}"


def write(folder: Path, out: Path | None = None, file_format: str = "png") -> list[Path]:
    """Draw ``rate_distortion``, ``bpp`` and ``time`` (where encoding was timed).

    Args:
        folder: a data set.
        out: where to put them; default ``stats`` in the data set's folder.
        file_format: ``"png"`` or ``"svg"``. Equal data sets give equal files.

    Returns:
        The files that were written.

    Raises UnavailableError when matplotlib is not installed, CirbenchError when there is nothing
    to plot or ``out`` cannot be written.
    """
    table = _usable(folder)
    try:
        from . import plots
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        raise UnavailableError(
            "plots need matplotlib, which is not installed; get it with: "
            "pip install 'matplotlib>=3.8'"
        ) from error
    means = summary.rows(folder)
    out = out or folder / FOLDER
    return [
        drawing.save(out / f"{name}.{file_format}", data)
        for name, data in plots.files(means, table, file_format)
    ]
