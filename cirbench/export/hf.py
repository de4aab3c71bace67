"""A folder that Hugging Face's ``datasets.load_dataset`` opens, with HQ and LQ image columns.

An image folder with ``metadata.parquet`` rather than parquet files with the PNGs inside: an HQ
image is stored once for all its tasks, and loading copies nothing into the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .. import parquet
from ..manifest import Manifest
from . import folders, layout, stream
from .target import Target


def write(data: Manifest, table: pa.Table, target: Target, hq: bool, jobs: int | None) -> None:
    """Write ``<split>/HQ``, ``<split>/LQ/<task>`` and ``<split>/metadata.parquet``.

    The metadata file has the manifest's columns plus ``hq_file_name`` and ``lq_file_name``, which
    ``datasets`` turns into the image columns ``hq`` and ``lq``.
    """
    names = layout.image_names(table)
    for item, png in stream.payloads(data, table, "png", hq, jobs):
        place = folders.hq_file if item.kind == "hq" else folders.lq_file
        target.put(f"{layout.split_name(item.row)}/{place(item.row, names)}", png, item.kind)
    columns = {"hq_file": "hq_file_name"} if hq else {}
    for split in table["split"].unique().to_pylist():
        mine = table.filter(pc.equal(table["split"], split)).replace_schema_metadata(None)
        located = folders.with_files(mine, names, **columns, lq_file="lq_file_name")
        relative = f"{layout.split_name({'split': split})}/metadata.parquet"
        target.put(relative, parquet.content(located, row_group_size=folders.ROW_GROUP))


def header(table: pa.Table, name: str) -> str:
    """The YAML at the top of the card: which files are which split, and what the hub shows."""
    splits = sorted(layout.split_name(row) for row in _splits(table))
    lines = ["---", f"pretty_name: {_quoted(name)}", "license: other"]
    lines += ["license_name: see-below", "task_categories:", "- image-to-image"]
    lines += ["tags:", "- image-restoration", "- compression-artifacts", "- cirbench"]
    lines += ["size_categories:", f"- {_size(table.num_rows)}", "configs:"]
    lines += ["- config_name: default", "  data_files:"]
    for split in splits:
        lines += [f"  - split: {split}", f'    path: "{split}/**"']
    return "\n".join([*lines, "---", "", ""])


def _splits(table: pa.Table) -> list[Mapping[str, Any]]:
    return [{"split": split} for split in table["split"].unique().to_pylist()]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _size(rows: int) -> str:
    """The hub's size category of a number of rows."""
    limits = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))
    return next((name for limit, name in limits if rows < limit), "1M<n<10M")
