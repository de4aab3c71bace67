"""Which rows of a data set are finished: recorded, with their files in place."""

from __future__ import annotations

import os
import re
from array import array
from bisect import bisect_left
from pathlib import Path

from .journal import Journal

_ROW_ID = re.compile("[0-9a-f]{32}")


class RowIds:
    """A set of row ids in 16 bytes each; a set of texts takes ten times that. Add them in order."""

    def __init__(self) -> None:
        self._high, self._low = array("Q"), array("Q")

    def __len__(self) -> int:
        return len(self._high)

    def append(self, row_id: str) -> None:
        """Add a row id, 32 hexadecimal digits, that is larger than all before, else ValueError."""
        high, low = _halves(row_id)
        if len(self) and (high, low) <= (self._high[-1], self._low[-1]):
            raise ValueError(f"{row_id} is not larger than the row id before it")
        self._high.append(high)
        self._low.append(low)

    def __contains__(self, row_id: object) -> bool:
        high, low = _halves(str(row_id))
        place = bisect_left(self._high, high)
        while place < len(self) and self._high[place] == high:
            if self._low[place] == low:
                return True
            place += 1
        return False


def _halves(row_id: str) -> tuple[int, int]:
    return int(row_id[:16], 16), int(row_id[16:], 16)


def rows(root: Path, journal: Journal) -> RowIds:
    """Row ids of finished rows whose files are all there, with the right size.

    One look at each file, in no order of folders: nothing is kept but the ids.
    """
    found, top = RowIds(), str(root)
    fields = "row_id, bitstream_path, bitstream_bytes, lq_path, lq_bytes"
    for row_id, coded, size, lq, lq_size in journal.select(fields, "status != 'error'"):
        whole = _size(f"{top}/{coded}") == size
        if whole and lq is not None:
            there = _size(f"{top}/{lq}")
            whole = bool(there) and lq_size in (there, None)  # None: by an older cirbench
        if whole and _ROW_ID.fullmatch(row_id):  # no row that is planned is called otherwise
            found.append(row_id)
    return found


def _size(file: str) -> int | None:
    """Size of a regular file in bytes; None when there is none."""
    try:
        return os.lstat(file).st_size
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
