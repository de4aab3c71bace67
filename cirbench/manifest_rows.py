"""Rows of a large manifest: they stay in their file, and only what is asked for is read."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow.fs import LocalFileSystem

from . import manifest_check
from .errors import CirbenchError
from .schema import ARROW_SCHEMA, NAMES

Conditions = tuple[tuple[str, pa.Array], ...]
"""Columns, and the values of which a row has to have one."""


def conditions(wanted: Mapping[str, Any]) -> Conditions:
    """A value, or a list of some, for every column. Raises CirbenchError for an unknown column."""
    found = []
    for name, value in wanted.items():
        if name not in NAMES:
            raise CirbenchError(f"the manifest has no column {name!r}; see manifests/schema.md")
        several = list(value) if isinstance(value, (list, tuple, set)) else [value]
        found.append((name, pa.array(several, type=ARROW_SCHEMA.field(name).type)))
    return tuple(found)


def fitting(table: pa.Table, conditions: Conditions) -> pa.Table:
    """The rows of a table in memory that fit."""
    for name, options in conditions:
        table = table.filter(pc.is_in(table[name], value_set=options))
    return table


@dataclass(frozen=True)
class FileRows:
    """Rows of a parquet file that fit some conditions.

    Attributes:
        path: the file.
        stamp: its size and time when it was opened.
        groups: its row groups, at most 50,000 rows each: no more is in memory at a time.
        where: the conditions.
    """

    path: Path
    stamp: tuple[int, int]
    groups: tuple[Any, ...]
    where: Conditions = ()

    @classmethod
    def open(cls, path: Path) -> FileRows:
        """All rows of a file. Raises OSError or ArrowException when it is no parquet file."""
        scan = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
        file_format = ds.ParquetFileFormat(default_fragment_scan_options=scan)
        stamp = _stamp(path)
        file = file_format.make_fragment(str(path.absolute()), filesystem=LocalFileSystem())
        return cls(path, stamp, tuple(file.split_by_row_group()))

    def filter(self, conditions: Conditions) -> FileRows:
        """Those of the rows that fit these conditions too; nothing is read yet."""
        return replace(self, where=(*self.where, *conditions))

    @cached_property
    def count(self) -> int:
        """How many rows there are; reads the conditions' columns only."""
        return sum(self._hits(group) for group in self._groups())

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows in the file's order, a row group at a time, with all or some of the columns.

        Row groups without a row that fits are passed over after a look at the conditions' columns.
        What is given out has been checked (:func:`manifest_check.check_rows`).

        Raises CirbenchError when the file is damaged, was replaced since it was opened, or holds
        what no manifest may hold.
        """
        kept = None if columns is None else list(columns)
        read = None if kept is None else [*dict.fromkeys((*kept, "status"))]
        for group in self._groups():
            if not self._hits(group):
                continue
            with manifest_check.damage_reported(self.path):
                table = group.to_table(columns=read, filter=self._predicate)
            manifest_check.check_rows(table, self.path)
            yield table if kept is None else table.select(kept)

    @cached_property
    def _predicate(self) -> Any:
        fits = (pc.field(name).isin(options) for name, options in self.where)
        return reduce(operator.and_, fits, pc.scalar(True))

    def _groups(self) -> Iterator[Any]:
        for group in self.groups:
            with manifest_check.damage_reported(self.path):
                same = _stamp(self.path) == self.stamp
            if not same:
                raise CirbenchError(f"{self.path} was replaced while it was read; start again")
            yield group

    def _hits(self, group: Any) -> int:
        """Rows of a row group that fit. (Fragment.count_rows may count the whole file's.)"""
        if not self.where:
            return sum(one.num_rows for one in group.row_groups)
        names = [*dict.fromkeys(name for name, _ in self.where)]
        with manifest_check.damage_reported(self.path):
            return int(group.to_table(columns=names, filter=self._predicate).num_rows)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
