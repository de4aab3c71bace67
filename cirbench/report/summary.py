"""The table a build ends with: codec and level against images, bpp, PSNR and seconds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .. import codecs
from ..manifest import TIMINGS_NAME, Manifest
from ..schema import TIMINGS_SCHEMA

_HEADER = ("codec", "level", "kind", "images", "bpp", "PSNR", "PSNR-Y", "encode s", "decode s")
_MEANS = {
    "bpp": ".4f",
    "psnr_rgb": ".2f",
    "psnr_y": ".2f",
    "encode_seconds": ".3f",
    "decode_seconds": ".3f",
}


def rows(folder: Path, sets: Collection[str] = ()) -> list[dict[str, object]]:
    """One entry per codec, level and variant: number of images and means over them.

    Args:
        folder: a data set.
        sets: only these sets; all when empty.

    Returns:
        Dictionaries with codec, level, variant, kind, images and the mean ``bpp``, ``psnr_rgb``,
        ``psnr_y`` (dB, images whose LQ equals the HQ left out), ``encode_seconds``,
        ``decode_seconds``; in the codecs' order, by level.
    """
    table = timed(folder, sets)
    for name in ("psnr_rgb", "psnr_y"):  # LQ equal to HQ is no number to average
        finite = pc.if_else(pc.is_finite(table[name]), table[name], None)
        table = table.set_column(table.schema.get_field_index(name), name, finite)
    keys = ["codec", "level", "level_value", "variant", "kind"]
    grouped = table.group_by(keys).aggregate([("row_id", "count"), *((n, "mean") for n in _MEANS)])
    found = [
        {key: row[key] for key in keys}
        | {"images": row["row_id_count"]}
        | {name: row[f"{name}_mean"] for name in _MEANS}
        for row in grouped.to_pylist()
    ]
    return sorted(found, key=_place)


_WIDE = ["settings", "encoder_args", "encoder_version", "decoder_version", "note", "error"]


def timed(folder: Path, sets: Collection[str] = ()) -> pa.Table:
    """The usable rows without their texts about encoders, and with ``encode_seconds`` and
    ``decode_seconds`` (null where not measured).
    """
    manifest = Manifest.open(folder).usable
    if sets:
        manifest = manifest.filter(set=sorted(sets))
    manifest.table = manifest.table.drop_columns(_WIDE)  # a join copies every column
    path = folder / TIMINGS_NAME
    timings = pq.read_table(path) if path.is_file() else TIMINGS_SCHEMA.empty_table()
    return manifest.table.join(timings, "row_id", join_type="left outer")


def _place(row: dict[str, object]) -> tuple[object, ...]:
    """By codec in the paper's order, then variant, then level as the codec lists them."""
    codec = codecs.get(str(row["codec"]))
    level = codec.level(str(row["level"]))
    return codecs.names().index(codec.name), row["variant"], list(codec.levels).index(level)


def table(folder: Path, sets: Collection[str] = (), markdown: bool = False) -> str:
    """The same as text, one line per codec and level."""
    lines: list[tuple[str, ...]] = [_HEADER]
    for row in rows(folder, sets):
        level = f"{row['level']} {row['variant']}".strip()
        means = ["-" if row[n] is None else f"{row[n]:{digits}}" for n, digits in _MEANS.items()]
        lines.append((str(row["codec"]), level, str(row["kind"]), str(row["images"]), *means))
    if markdown:
        lines.insert(1, ("---", "---", "---", *["--:"] * (len(_HEADER) - 3)))
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return aligned(lines, left=3)


def aligned(lines: Sequence[Sequence[str]], left: int) -> str:
    """Cells as columns of text: the first ``left`` flush left, the others flush right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def failures(folder: Path, sets: Collection[str] = (), most: int = 20) -> Iterator[str]:
    """One line per failed row of these sets, at most ``most``, then how many more there are."""
    manifest = Manifest.open(folder).filter(status="error")
    if sets:
        manifest = manifest.filter(set=sorted(sets))
    columns = manifest.table.select(["hq_path", "tile", "task", "error"]).to_pylist()
    for row in columns[:most]:
        parts = filter(None, (row["hq_path"], row["tile"] and f"@{row['tile']}", row["task"]))
        line = f"failed: {' '.join(parts)}: {row['error']}"
        yield "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)  # names are anything
    if len(columns) > most:
        yield f"... and {len(columns) - most} more; see the manifest's error column"
