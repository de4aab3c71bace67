"""Statistics of a data set: its table, what each codec cost in bytes and seconds, and plots."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .. import codecs, timed
from ..builder import store
from ..errors import CirbenchError, InputError, UnavailableError
from . import drawing, summary

FOLDER = "stats"
FORMATS = ("png", "svg")
Sums = Counter[str]  # their values are numbers of any kind
_KEYS = ("codec", "level", "variant", "kind")
_SECONDS = ("encode_seconds", "decode_seconds")
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
    parts: dict[str, Sums] = defaultdict(Counter)
    images: dict[str, int] = defaultdict(int)  # of every image, one bit for each codec's number
    for table in timed.tables(folder, _COLUMNS):
        for number, name in enumerate(codecs.names()):
            rows = table.filter(pc.equal(table["codec"], name))
            if len(rows):
                parts[name].update(_sums(folder, rows))
                for image in _images(rows):
                    images[image] |= 1 << number
    if not parts:
        raise _no_rows(folder)
    counts = {
        name: sum(seen >> number & 1 for seen in images.values())
        for number, name in enumerate(codecs.names())
        if name in parts
    }
    found = [{"codec": name} | _entry(parts[name], count) for name, count in counts.items()]
    if len(found) > 1:
        whole: Sums = Counter()
        for part in parts.values():
            whole.update(part)
        found.append({"codec": "all"} | _entry(whole, len(images)))
    return found


_COLUMNS = (
    *("set", "hq_root", "hq_path", "tile", "codec", "lq_path", "bitstream_bytes"),
    *("width", "height"),
)


def _images(rows: pa.Table) -> list[str]:
    keys = (pc.fill_null(rows[name], "") for name in ("set", "hq_root", "hq_path", "tile"))
    named: list[str] = pc.binary_join_element_wise(*keys, "\0").to_pylist()
    return named


def _no_rows(folder: Path) -> CirbenchError:
    return CirbenchError(f"{folder} has no usable rows, so there is nothing to count or plot")


def _sums(folder: Path, rows: pa.Table) -> dict[str, Any]:
    """What is added up of some rows."""
    stored = rows.filter(pc.is_valid(rows["lq_path"]))
    sums = {
        "rows": len(rows),
        "bytes": pc.sum(rows["bitstream_bytes"]).as_py(),
        "stored": len(stored),
        "png": _sizes(folder, stored["lq_path"].to_pylist()),
        "coded": pc.sum(stored["bitstream_bytes"]).as_py() or 0,
    }
    for name in _SECONDS:
        known = rows.filter(pc.is_valid(rows[name]))
        sums[f"{name} rows"] = len(known)
        sums[name] = pc.sum(known[name]).as_py() or 0
        sums[f"{name} megapixels"] = pc.sum(megapixels(known)).as_py() or 0
    return sums


def _entry(sums: Mapping[str, Any], images: int) -> dict[str, Any]:
    """What :func:`totals` says of them."""
    png = sums["png"] / sums["coded"] if sums["stored"] else None
    entry = {"images": images, "rows": sums["rows"], "bytes": sums["bytes"], "png_ratio": png}
    for name in _SECONDS:
        known = sums[f"{name} rows"]
        entry[name] = sums[name] if known else None
        entry[f"{name}_per_megapixel"] = sums[name] / sums[f"{name} megapixels"] if known else None
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
    table = timed.table(folder, (*_KEYS, "bpp", "width", "height"))
    if not len(table):
        raise _no_rows(folder)
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
