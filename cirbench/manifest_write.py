"""Write ``manifest.parquet`` and ``timings.parquet`` from the journal, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from . import parquet
from .builder import store
from .builder.journal import ROW_FIELDS, Journal
from .errors import CirbenchError
from .schema import ARROW_SCHEMA, SCHEMA_VERSION, TIMINGS_SCHEMA

FILE_NAME = "manifest.parquet"
TIMINGS_NAME = "timings.parquet"
SUMS_NAME = f"{FILE_NAME}.sha256"
_ROW_GROUP = 50_000
_BATCH = 5_000  # rows that are Python objects at a time
Item = TypeVar("Item")


def write(folder: Path, journal: Journal, version: str) -> None:
    """Make ``manifest.parquet``, ``timings.parquet`` and ``manifest.parquet.sha256`` (of both).

    Rows are streamed from the journal, sorted by row id: the same rows give the same bytes. Does
    nothing when no row changed since the last time and the files are as they were.
    """
    if journal.manifest_is_current(_stamp(folder)):
        return
    meta = {
        "schema_version": SCHEMA_VERSION,
        "cirbench_version": version,
        "recipes": journal.recipes(),
    }
    schema = ARROW_SCHEMA.with_metadata({"cirbench": json.dumps(meta, sort_keys=True)})
    temporary = folder / store.TEMPORARY
    paths = (temporary / FILE_NAME, temporary / TIMINGS_NAME)
    try:
        temporary.mkdir(exist_ok=True)
        _write_tables(journal, schema, *paths)
        sums = "".join(f"{store.file_sha256(path)}  {path.name}\n" for path in paths)
        for path in paths:
            path.replace(folder / path.name)
    except OSError as error:
        raise store.StoreError(
            f"cannot write {folder / FILE_NAME} ({error}); make room and run the same command again"
        ) from error
    except (pa.ArrowException, UnicodeError) as error:
        raise CirbenchError(
            f"{journal.path} holds a row that is none ({error}); move it away, and the next build "
            "makes it again from the manifest"
        ) from error
    store.write(folder, SUMS_NAME, sums.encode())
    journal.manifest_written(_stamp(folder))
    journal.commit()


def timings(folder: Path) -> dict[str, dict[str, float | None]]:
    """Encode and decode seconds by row id; empty when ``timings.parquet`` is missing or damaged."""
    try:
        table = parquet.read(folder / TIMINGS_NAME)
        table = table.select(TIMINGS_SCHEMA.names).cast(TIMINGS_SCHEMA)
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return {}
    return {row.pop("row_id"): row for row in table.to_pylist()}


def _write_tables(journal: Journal, schema: pa.Schema, path: Path, timings_path: Path) -> None:
    options = {"compression": "zstd", "write_page_checksum": True}
    with (
        pa.OSFile(str(path), "wb") as file,
        pa.OSFile(str(timings_path), "wb") as timings_file,
        pq.ParquetWriter(file, schema, **options) as manifest,
        pq.ParquetWriter(timings_file, TIMINGS_SCHEMA, **options) as timings,
    ):
        for group in _batched(_arrow(journal.rows()), _ROW_GROUP // _BATCH):
            table = pa.concat_tables(group)
            for writer in (manifest, timings):
                columns = table.select(writer.schema.names).combine_chunks()
                writer.write_table(columns.cast(writer.schema), row_group_size=_ROW_GROUP)


def _arrow(rows: Iterator[tuple[Any, ...]]) -> Iterator[pa.Table]:
    """Rows of the journal as Arrow tables of a few thousand rows."""
    types = {field.name: field.type for field in (*ARROW_SCHEMA, *TIMINGS_SCHEMA)}
    schema = pa.schema([(name, types[name]) for name in ROW_FIELDS])
    for batch in _batched(rows, _BATCH):
        columns = zip(*batch, strict=True)
        arrays = (pa.array(c, f.type) for c, f in zip(columns, schema, strict=True))
        yield pa.Table.from_arrays([*arrays], schema=schema)


def _batched(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while batch := list(islice(items, size)):
        yield batch


def _stamp(folder: Path) -> str:
    """Size and time of the manifest's files, ``missing`` when one is not there."""
    try:
        found = [(folder / name).stat() for name in (FILE_NAME, TIMINGS_NAME, SUMS_NAME)]
    except FileNotFoundError:
        return "missing"
    return " ".join(f"{one.st_size} {one.st_mtime_ns}" for one in found)
