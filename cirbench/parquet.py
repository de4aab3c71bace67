"""Parquet files: those that anyone may have written are read in memory that their size decides."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_PER_ROW = 1 << 14
_ANYWAY = 1 << 26
"""Bytes of text a table may have: 16 KiB a row, which is ten times what ours have, and 64 MiB."""


def read(path: Path) -> pa.Table:
    """A whole parquet file, its pages, its texts' UTF-8 and their length checked.

    A text that stands in the file once may be in a million rows, so texts are taken as the file
    has them and counted before they are written out.

    Raises OSError or ArrowException.
    """
    with pa.OSFile(str(path)) as file:  # as a text, pyarrow takes "a:b" for an address
        head = pq.ParquetFile(file)
        rows, schema = head.metadata.num_rows, head.schema_arrow
        limit = _PER_ROW * rows + _ANYWAY
        groups = map(head.metadata.row_group, range(head.metadata.num_row_groups))
        if sum(group.total_byte_size for group in groups) > limit:
            raise pa.ArrowInvalid(f"it holds more than {limit} bytes for {rows} rows")
        texts = [field.name for field in schema if field.type == pa.string()]
        options: dict[str, Any] = {"page_checksum_verification": True}
        table = pq.ParquetFile(file, read_dictionary=texts, **options).read()
    if sum(_length(table[name]) for name in texts) > limit:
        raise pa.ArrowInvalid(f"its texts are longer than {limit} bytes for {rows} rows")
    table = table.cast(schema)
    table.validate(full=True)
    return table


def content(table: pa.Table, **options: Any) -> bytes:
    """A table as a parquet file, zstd; equal tables give equal bytes.

    ``options`` are those of pyarrow's ``write_table``.
    """
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", **options)
    return buffer.getvalue()


def _length(column: pa.ChunkedArray) -> int:
    """Bytes of all texts of a column, written out."""
    total = 0
    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type):
            chunk.validate(full=True)
            lengths = pc.binary_length(chunk.dictionary).take(chunk.indices)
        else:
            lengths = pc.binary_length(chunk)
        total += pc.sum(lengths.cast(pa.int64())).as_py() or 0
    return total
