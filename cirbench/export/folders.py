"""``HQ/`` and ``LQ/<task>/`` of PNGs with the lists that paired loaders read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .. import parquet
from ..manifest import Manifest
from . import layout, stream
from .target import Target

ROWS = "rows.parquet"
ROW_GROUP = 50_000
Names = Mapping[layout.Key, str]


def hq_file(row: Mapping[str, Any], names: Names) -> str:
    """Where a row's HQ image is: ``HQ/bikes.png``."""
    return f"HQ/{names[layout.image_key(row)]}.png"


def lq_file(row: Mapping[str, Any], names: Names) -> str:
    """Where a row's LQ image is: ``LQ/jpeg-qf10/bikes.png``, named as its HQ image."""
    return f"LQ/{layout.task_name(row)}/{names[layout.image_key(row)]}.png"


def write(data: Manifest, table: pa.Table, target: Target, hq: bool, jobs: int | None) -> None:
    """Write images, lists and ``rows.parquet``.

    ``meta_info/<task>_<split>.txt`` has lines ``bikes.png (512,768,3)``: HQ file name, height,
    width, channels, as BasicSR's PairedImageDataset reads (the LQ has the same name).
    ``meta_info/all_<split>.txt`` has lines ``HQ/bikes.png, LQ/jpeg-qf10/bikes.png``, as
    Real-ESRGAN's paired data set reads. ``rows.parquet`` is the manifest plus ``hq_file`` and
    ``lq_file``.
    """
    names = layout.image_names(table)
    for item, png in stream.payloads(data, table, "png", hq, jobs):
        place = hq_file if item.kind == "hq" else lq_file
        target.put(place(item.row, names), png, item.kind)
    for relative, lines in _lists(table, names):
        target.put(relative, "".join(f"{line}\n" for line in lines).encode())
    located = with_files(table, names, hq_file="hq_file", lq_file="lq_file")
    target.put(ROWS, parquet.content(located, row_group_size=ROW_GROUP))


def _lists(table: pa.Table, names: Names) -> Iterator[tuple[str, Iterator[str]]]:
    """(path, lines) of every meta-info list."""
    for split in sorted(table["split"].unique().to_pylist()):
        mine = table.filter(pc.equal(table["split"], split))
        named = layout.split_name({"split": split})
        yield f"meta_info/all_{named}.txt", _whole(mine, names)
        keys = mine.select(["codec", "level", "variant"])
        groups = keys.group_by(["codec", "level", "variant"]).aggregate([]).to_pylist()
        for group in sorted(groups, key=layout.task_name):
            of_task = mine
            for column, value in group.items():
                of_task = of_task.filter(pc.equal(of_task[column], value))
            yield f"meta_info/{layout.task_name(group)}_{named}.txt", _of_task(of_task, names)


def _whole(table: pa.Table, names: Names) -> Iterator[str]:
    for row in layout.rows(table):
        yield f"{hq_file(row, names)}, {lq_file(row, names)}"


def _of_task(table: pa.Table, names: Names) -> Iterator[str]:
    for row in layout.rows(table):
        yield f"{names[layout.image_key(row)]}.png ({row['height']},{row['width']},3)"


def with_files(table: pa.Table, names: Names, **columns: str) -> pa.Table:
    """The table with a column of HQ and/or LQ file names, called as the arguments say."""
    meanings = {"hq_file": (hq_file, "HQ image (PNG)"), "lq_file": (lq_file, "LQ image (PNG)")}
    for which, column in columns.items():
        place, meaning = meanings[which]
        files = pa.array((place(row, names) for row in layout.rows(table)), pa.string())
        field = pa.field(column, pa.string(), metadata={"description": f"{meaning} in here."})
        table = table.append_column(field, files)
    return table
