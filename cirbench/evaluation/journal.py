"""The evaluation's memory: every score, in SQLite, safe against a kill at any moment."""

from __future__ import annotations

import math
import sqlite3
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import CirbenchError

FILE_NAME = "journal.sqlite"
_VERSION = 1

Key = tuple[str, str, str, str, str, str, int, str]
"""row_id, model, checkpoint, source, metric, protocol, protocol version, cirbench version."""

Known = dict[tuple[str, str], dict[tuple[str, str, int], float]]
"""(row_id, source) to (metric, protocol, protocol version) to value."""


class Journal:
    """The SQLite file of one evaluation; safe to use from several threads.

    Use as a context manager; closing commits. Raises CirbenchError when the file is none of ours.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._lock = threading.Lock()
        self._committed = time.monotonic()
        with self._damage_reported():
            self._db = sqlite3.connect(self.path, check_same_thread=False)
            self._db.execute("PRAGMA trusted_schema = OFF")
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            kinds = self._db.execute("SELECT DISTINCT type FROM sqlite_master").fetchall()
        # Tables and indexes only: no triggers, no views.
        if kinds and (found != _VERSION or {kind for (kind,) in kinds} - {"table", "index"}):
            raise CirbenchError(
                f"{self.path} is not the journal of an evaluation by this cirbench; choose "
                "another --out"
            )
        with self._writing():
            self._db.executescript(
                f"""
                PRAGMA user_version = {_VERSION};
                CREATE TABLE IF NOT EXISTS scores (
                    row_id TEXT, model TEXT, checkpoint TEXT, source TEXT, metric TEXT,
                    protocol TEXT, protocol_version INTEGER, cirbench_version TEXT,
                    value REAL NOT NULL,
                    PRIMARY KEY (row_id, model, checkpoint, source, metric, protocol,
                                 protocol_version, cirbench_version)
                ) WITHOUT ROWID;
                CREATE TABLE IF NOT EXISTS restored (path TEXT PRIMARY KEY, source TEXT NOT NULL)
                    WITHOUT ROWID;
                """
            )

    @contextmanager
    def _damage_reported(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, UnicodeError) as error:
            why = " ".join(str(error).split())
            raise CirbenchError(
                f"{self.path} cannot be used as a journal ({why}); move it away or choose "
                "another --out"
            ) from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            with self._writing():
                self._db.commit()
        finally:
            self._db.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock, self._damage_reported():
            try:
                yield
                if time.monotonic() - self._committed >= 1:
                    self._db.commit()
                    self._committed = time.monotonic()
            except sqlite3.OperationalError as error:
                raise CirbenchError(
                    f"{self.path} cannot be written ({error}); make room and run the same command "
                    "again: what was committed is kept"
                ) from error

    def add(self, scores: Iterable[tuple[Key, float]]) -> None:
        """Record scores; commits about once a second. NaN is a programming error."""
        rows = [(*key, value) for key, value in scores]
        if any(math.isnan(row[-1]) for row in rows):
            raise ValueError(f"a score is NaN: {rows}")
        with self._writing():
            marks = ", ".join("?" * 9)
            self._db.executemany(f"INSERT OR REPLACE INTO scores VALUES ({marks})", rows)

    def scores(self, model: str, checkpoint: str, version: str) -> Known:
        """All scores of one model made by one cirbench version."""
        known: Known = {}
        with self._lock, self._damage_reported():
            found = self._db.execute(
                "SELECT row_id, source, metric, protocol, protocol_version, value FROM scores "
                "WHERE model = ? AND checkpoint = ? AND cirbench_version = ? ORDER BY row_id",
                (model, checkpoint, version),
            )
            for row_id, source, metric, protocol, protocol_version, value in found:
                if not isinstance(value, float):
                    raise CirbenchError(f"{self.path} holds a score {value!r}; move it away")
                what = (sys.intern(metric), sys.intern(protocol), protocol_version)
                known.setdefault((row_id, source), {})[what] = value
        return known

    def restored(self, path: str) -> str:
        """What the cached image at ``path`` was made from; "" when none was."""
        with self._lock, self._damage_reported():
            found = self._db.execute("SELECT source FROM restored WHERE path = ?", (path,))
            row = found.fetchone()
        return str(row[0]) if row else ""

    def remember(self, path: str, source: str) -> None:
        """Record what a cached image was made from."""
        with self._writing():
            self._db.execute("INSERT OR REPLACE INTO restored VALUES (?, ?)", (path, source))
