"""The table a build ends with: codec and level against images, bpp, PSNR and seconds."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from .. import codecs
from ..manifest import TIMINGS_NAME, Manifest

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
        ``psnr_y`` (dB), ``encode_seconds``, ``decode_seconds``; in the codecs' order, by level.
    """
    manifest = Manifest.open(folder).usable
    if sets:
        manifest = manifest.filter(set=sorted(sets))
    timings = pq.read_table(folder / TIMINGS_NAME)
    table = manifest.table.join(timings, "row_id", join_type="left outer")
    keys = ["codec", "level", "level_value", "variant", "kind"]
    grouped = table.group_by(keys).aggregate([("row_id", "count"), *((n, "mean") for n in _MEANS)])
    found = [
        {key: row[key] for key in keys}
        | {"images": row["row_id_count"]}
        | {name: row[f"{name}_mean"] for name in _MEANS}
        for row in grouped.to_pylist()
    ]
    return sorted(found, key=_place)


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
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADER))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def failures(folder: Path, most: int = 20) -> Iterator[str]:
    """One line per failed row of the data set, at most ``most``, then how many more there are."""
    table = Manifest.open(folder).table
    failed = table.filter(pc.equal(table["status"], "error"))
    columns = failed.select(["hq_path", "task", "error"]).to_pylist()
    for row in columns[:most]:
        task = f" {row['task']}" if row["task"] else ""
        yield f"failed: {row['hq_path']}{task}: {row['error']}"
    if len(columns) > most:
        yield f"... and {len(columns) - most} more; see the manifest's error column"
