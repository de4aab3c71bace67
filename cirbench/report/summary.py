"""The table a build ends with: codec and level against images, bpp, PSNR and seconds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .. import codecs, timed
from ..manifest import Manifest
from ..printable import line as one_line

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
    keys = ("codec", "level", "level_value", "variant", "kind")
    totals: dict[tuple[Any, ...], _Total] = {}
    for table in timed.tables(folder, (*keys, "bpp", "psnr_rgb", "psnr_y"), sets):
        for row in _sums(table, keys):
            total = totals.setdefault(tuple(row[key] for key in keys), _Total())
            total.add(row)
    found = [dict(zip(keys, key, strict=True)) | total.means() for key, total in totals.items()]
    return sorted(found, key=_place)


def _sums(table: pa.Table, keys: Sequence[str]) -> list[dict[str, Any]]:
    for name in ("psnr_rgb", "psnr_y"):  # LQ equal to HQ is no number to average
        finite = pc.if_else(pc.is_finite(table[name]), table[name], None)
        table = table.set_column(table.schema.get_field_index(name), name, finite)
    wanted = [("row_id", "count"), *((n, how) for n in _MEANS for how in ("sum", "count"))]
    sums = table.group_by(list(keys), use_threads=False).aggregate(wanted)  # always the same order
    found: list[dict[str, Any]] = sums.to_pylist()
    return found


class _Total:
    """Sums over the rows of one codec and level, and over how many of them."""

    def __init__(self) -> None:
        self.rows = 0
        self.sums, self.counts = dict.fromkeys(_MEANS, 0.0), dict.fromkeys(_MEANS, 0)

    def add(self, row: dict[str, Any]) -> None:
        self.rows += row["row_id_count"]
        for name in _MEANS:
            self.sums[name] += row[f"{name}_sum"] or 0.0
            self.counts[name] += row[f"{name}_count"]

    def means(self) -> dict[str, Any]:
        """The number of images, and the means; None over no row."""
        counts = self.counts.items()
        return {"images": self.rows} | {n: self.sums[n] / k if k else None for n, k in counts}


def _place(row: dict[str, object]) -> tuple[object, ...]:
    """By codec in the paper's order, then variant, then level as the codec lists them."""
    codec, level = codecs.rank(str(row["codec"]), str(row["level"]))
    return codec, row["variant"], level


def table(folder: Path, sets: Collection[str] = (), markdown: bool = False) -> str:
    """The same as text, one line per codec and level."""
    lines: list[tuple[str, ...]] = [_HEADER]
    for row in rows(folder, sets):
        level = f"{row['level']} {row['variant']}".strip()
        means = ["-" if row[n] is None else f"{row[n]:{digits}}" for n, digits in _MEANS.items()]
        texts = (one_line(str(text)) for text in (row["codec"], level, row["kind"], row["images"]))
        lines.append((*texts, *means))
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
    columns = ("hq_path", "tile", "task", "error")
    for row in islice((r for t in manifest.tables(columns) for r in t.to_pylist()), most):
        parts = filter(None, (row["hq_path"], row["tile"] and f"@{row['tile']}", row["task"]))
        yield one_line(f"failed: {' '.join(parts)}: {row['error']}")
    if len(manifest) > most:
        yield f"... and {len(manifest) - most} more; see the manifest's error column"
