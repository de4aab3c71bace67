"""The data card: what an export holds, whose it is and how it was made, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .. import codecs, weights
from ..manifest import Manifest
from . import layout, rights

FILE_NAME = "README.md"
_BLOCKS = " ▁▂▃▄▅▆▇█"
_BINS_PER_DECADE = 16


def name(data: Manifest) -> str:
    """What a data set is called: its sets and recipes."""
    known = [", ".join(sorted(data.table[column].unique().to_pylist())) for column in _NAMED]
    return f"CIR pairs of {known[0]} (recipe {known[1]})"


_NAMED = ("set", "recipe")


def text(data: Manifest, failed: int, sizes: Mapping[str, tuple[int, int]], use: str) -> str:
    """The card.

    Args:
        data: the rows it is about, without failed ones.
        failed: number of rows that were left out because they failed.
        sizes: (files, bytes) on disk by what they are.
        use: how to read the export, as Markdown; may be empty.
    """
    table = data.table
    images = table.group_by(["set", "hq_path", "tile"]).aggregate([]).num_rows
    tasks = table.group_by(["task", "variant"]).aggregate([]).num_rows
    parts = [
        f"# {_cell(name(data))}",
        f"{table.num_rows} compressed images (LQ) of {images} sources (HQ) in {tasks} tasks, for "
        "compressed image restoration. A task is a codec at one level; every LQ image is what its "
        "bitstream decodes to."
        + (f" {failed} rows failed when they were made and are left out." if failed else ""),
        use,
        "## Images\n\n" + _images(table),
        "## Licence of the images\n\n" + _rights(table),
        "## Recipe\n\n" + _recipes(data),
        "## Tasks\n\n" + _tasks(table),
        "## Encoders\n\n" + _encoders(table),
        _weights(table),
        "## Size\n\n" + _sizes(table, sizes),
        "## Bits per pixel\n\n" + histogram(table),
        "## Checksums\n\n`SHA256SUMS` has the SHA-256 of every file here; check them with "
        "`sha256sum -c SHA256SUMS`. The manifest also has those of the pixels and bitstreams of "
        "each row (`hq_sha256`, `lq_sha256`, `bitstream_sha256`).",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _images(table: pa.Table) -> str:
    keys = ["set", "split"]
    images = table.group_by([*keys, "hq_path", "tile"]).aggregate([])
    rows = {(r["set"], r["split"]): r["count_all"] for r in _counts(table, keys)}
    lines = [
        (r["set"], r["split"] or "-", r["count_all"], rows[r["set"], r["split"]])
        for r in sorted(_counts(images, keys), key=lambda r: (r["set"], r["split"]))
    ]
    return _table(("set", "split", "images", "LQ images"), lines)


def _counts(table: pa.Table, keys: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.group_by(keys).aggregate([([], "count_all")]).to_pylist()
    return found


def _rights(table: pa.Table) -> str:
    lines = [(one.set, one.photo or "all", one.licence, one.source) for one in rights.of(table)]
    return (
        _table(("set", "photos", "licence", "from"), lines)
        + "\n\nThese are the terms of the HQ images, looked up by the name of their set. The LQ "
        "images and bitstreams are made from them and are under the same terms."
    )


def _recipes(data: Manifest) -> str:
    recipes = data.metadata.get("recipes", [])
    lines = [(r["name"], r["version"], f"`{r['sha256']}`") for r in recipes]
    version = data.metadata.get("cirbench_version", "of unknown version")
    made = f"Made with cirbench {_cell(version)}, manifest schema version "
    return (
        _table(("recipe", "version", "SHA-256"), lines)
        + f"\n\n{made}{data.metadata['schema_version']}."
    )


def _tasks(table: pa.Table) -> str:
    for column in ("psnr_rgb", "psnr_y"):  # LQ equal to HQ is no number to average
        finite = pc.if_else(pc.is_finite(table[column]), table[column], None)
        table = table.set_column(table.schema.get_field_index(column), column, finite)
    keys = ["codec", "level", "level_value", "variant", "kind", "split"]
    means = [("bpp", "mean"), ("psnr_rgb", "mean"), ("psnr_y", "mean")]
    grouped = table.group_by(keys).aggregate([([], "count_all"), *means]).to_pylist()
    lines = [
        (
            layout.task_name(row),
            row["kind"],
            row["split"] or "-",
            row["count_all"],
            _number(row["bpp_mean"], 4),
            _number(row["psnr_rgb_mean"], 2),
            _number(row["psnr_y_mean"], 2),
        )
        for row in sorted(grouped, key=_place)
    ]
    header = ("task", "kind", "split", "LQ images", "mean bpp", "PSNR RGB (dB)", "PSNR Y (dB)")
    return _table(header, lines)


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    codec, level = codecs.rank(row["codec"], row["level"])
    return codec, row["variant"], level, row["split"], row["kind"]


def _encoders(table: pa.Table) -> str:
    keys = ["codec", "encoder", "encoder_version", "decoder_version"]
    return _table(keys, _distinct(table, keys))


def _weights(table: pa.Table) -> str:
    found = _distinct(table.filter(pc.is_valid(table["weights"])), ["weights", "weights_sha256"])
    if not found:
        return ""
    by_name = {one.name: one.licence for one in weights.records()}
    lines = [
        (
            label,
            f"`{sha256}`",
            by_name.get(label.removesuffix(" (modified)"), "not known to cirbench"),
        )
        for label, sha256 in found
    ]
    return "## Weights of the learned codecs\n\n" + _table(("weights", "SHA-256", "licence"), lines)


def _distinct(table: pa.Table, keys: Sequence[str]) -> list[tuple[str, ...]]:
    rows = table.group_by(list(keys)).aggregate([]).to_pylist()
    return sorted(tuple(str(row[key]) for key in keys) for row in rows)


def _sizes(table: pa.Table, sizes: Mapping[str, tuple[int, int]]) -> str:
    lines = [(what, files, _bytes(size)) for what, (files, size) in sizes.items()]
    coded = pc.sum(table["bitstream_bytes"]).as_py()
    raw = 3 * pc.sum(pc.multiply(table["width"], table["height"])).as_py()
    return (
        _table(("here", "files", "size"), lines) + "\n\n" if lines else ""
    ) + f"All bitstreams together have {_bytes(coded)}, the LQ pixels as 8-bit RGB {_bytes(raw)}."


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.2f} {unit}"
        size /= 1000
    return f"{size:.2f} TB"


def histogram(table: pa.Table) -> str:
    """Bits per pixel on a logarithmic axis, a line of blocks per codec, as a code block."""
    logs = {
        codec: np.log10(table.filter(pc.equal(table["codec"], codec))["bpp"].to_numpy())
        for codec in codecs.names()
        if codec in table["codec"].unique().to_pylist()
    }
    low = int(np.floor(min(values.min() for values in logs.values())))
    high = int(np.floor(max(values.max() for values in logs.values()))) + 1
    edges = np.linspace(low, high, (high - low) * _BINS_PER_DECADE + 1)
    wide = max(map(len, logs))
    lines = list(_bars(logs, edges, wide))
    ticks = "".join(f"{10.0**at:<{_BINS_PER_DECADE}g}" for at in range(low, high))
    lines.append(f"{'bpp':<{wide}}  {ticks}{10.0**high:g}")
    return "```text\n" + "\n".join(lines) + "\n```"


def _bars(
    logs: Mapping[str, NDArray[np.float64]], edges: NDArray[np.float64], wide: int
) -> Iterator[str]:
    for codec, values in logs.items():
        counts = np.histogram(values, edges)[0]
        steps = np.ceil(counts / counts.max() * (len(_BLOCKS) - 1)).astype(int)
        bars = "".join(_BLOCKS[step] for step in steps)
        yield f"{codec:<{wide}}  {bars}  median {10 ** float(np.median(values)):.4f}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _table(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    cells = [[_cell(cell) for cell in line] for line in lines]
    rows = [list(header), ["---"] * len(header), *cells]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: object) -> str:
    """A value that cannot break out of its cell."""
    plain = "".join(c if c.isprintable() else " " for c in str(value))
    return plain.replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")
