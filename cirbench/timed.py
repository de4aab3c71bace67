"""A data set's usable rows with the seconds they took, some 10,000 at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .errors import CirbenchError
from .manifest import TIMINGS_NAME, Manifest
from .schema import ARROW_SCHEMA, TIMINGS_SCHEMA

_SECONDS = [name for name in TIMINGS_SCHEMA.names if name != "row_id"]


def tables(
    folder: Path, columns: Sequence[str], sets: Collection[str] = (), codec: str | None = None
) -> Iterator[pa.Table]:
    """Columns of the usable rows, with ``encode_seconds`` and ``decode_seconds``, streamed.

    Args:
        folder: a data set.
        columns: of the manifest.
        sets: only these sets; all when empty.
        codec: only this codec's rows.

    Seconds are null where nothing was measured or there is no ``timings.parquet``. Raises
    CirbenchError when a file is damaged or not in the order of its row ids.
    """
    manifest = Manifest.open(folder).usable
    if sets:
        manifest = manifest.filter(set=sorted(sets))
    if codec:
        manifest = manifest.filter(codec=codec)
    yield from with_seconds(manifest.tables([*dict.fromkeys(("row_id", *columns))]), folder)


def with_seconds(tables: Iterable[pa.Table], folder: Path) -> Iterator[pa.Table]:
    """Tables of the manifest in ``folder``, in its order, with the two columns of seconds."""
    ahead = _Ahead(folder / TIMINGS_NAME)
    for table in tables:
        seconds = ahead.of(table["row_id"])
        for name in _SECONDS:
            table = table.append_column(name, seconds[name])
        yield table


def table(folder: Path, columns: Sequence[str]) -> pa.Table:
    """The same in one table."""
    fields = [*(ARROW_SCHEMA.field(name) for name in dict.fromkeys(("row_id", *columns)))]
    fields += [TIMINGS_SCHEMA.field(name) for name in _SECONDS]
    return pa.concat_tables([pa.schema(fields).empty_table(), *tables(folder, columns)])


class _Ahead:
    """``timings.parquet``, read alongside the manifest: both are sorted by row id."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._coming = self._groups()
        self._here = TIMINGS_SCHEMA.empty_table()
        self._last = ""

    def _groups(self) -> Iterator[pa.Table]:
        if not self._path.is_file():
            return
        try:
            with pa.OSFile(str(self._path)) as opened:
                file = pq.ParquetFile(opened, page_checksum_verification=True)
                for number in range(file.num_row_groups):
                    yield file.read_row_group(number, columns=TIMINGS_SCHEMA.names)
        except (pa.ArrowException, OSError) as error:
            raise CirbenchError(
                f"{self._path} is damaged ({error}); remove it, or run the build that made it "
                "once more: only times are in it"
            ) from error

    def of(self, row_ids: pa.ChunkedArray) -> pa.Table:
        """The seconds of these rows, which come after all that were asked for before."""
        if not len(row_ids):
            return TIMINGS_SCHEMA.empty_table()
        first, last = row_ids[0].as_py(), row_ids[-1].as_py()
        if first <= self._last:
            raise CirbenchError(
                f"the manifest beside {self._path} is not in the order of its row ids; run the "
                "build that made it once more"
            )
        self._last = last
        while not len(self._here) or self._here["row_id"][-1].as_py() < last:
            more = next(self._coming, None)
            if more is None:
                break
            self._here = pa.concat_tables([self._here, more])
        places = pc.index_in(row_ids, value_set=self._here["row_id"].combine_chunks())
        found = self._here.take(places)
        self._here = self._here.filter(pc.greater(self._here["row_id"], last))
        return found
