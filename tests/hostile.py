"""What the tests of hostile files share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from cirbench.errors import CirbenchError

FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def sentence(action: Callable[[], object]) -> str:
    """What a CirbenchError says, "" without one; any other exception fails the test."""
    try:
        action()
    except CirbenchError as error:
        assert "\n" not in str(error) and len(str(error)) < 5000
        return str(error)
    return ""


def set_columns(manifest: Path, **columns: object) -> None:
    """Put one value in all rows of some columns of a manifest's file."""
    table = pq.read_table(manifest)
    for name, value in columns.items():
        index, kind = table.schema.get_field_index(name), table.schema.field(name)
        table = table.set_column(index, kind, pa.array([value] * len(table), kind.type))
    pq.write_table(table, manifest)


def damage(data: st.DataObject, whole: bytes) -> bytes:
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed) - 1))
        piece = data.draw(st.sampled_from([b"\0", b"\xff", b"\x80\0\0\0", b"\xff\xff\xff\x7f"]))
        changed[at : at + len(piece)] = piece
    return bytes(changed[: data.draw(st.sampled_from([len(changed), len(changed) // 2])) or 1])
