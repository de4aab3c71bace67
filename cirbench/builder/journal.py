"""The build's memory: every finished row, in SQLite, safe against a kill at any moment.

One writer; rows are committed in batches of at most about one second of work. The parquet
manifest is made from here, so it never has to be updated in place.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from .. import migrate
from ..errors import CirbenchError
from ..schema import COLUMNS, NAMES, SCHEMA_VERSION

FILE_NAME = "journal.sqlite"
ROW_FIELDS = (*NAMES, "encode_seconds", "decode_seconds")
"""What the journal keeps of a row: the manifest's columns and its two timings."""

_SQL_TYPES = {"str": "TEXT", "int": "INTEGER", "float": "REAL"}
_TYPES = {column.name: _SQL_TYPES[column.type] for column in COLUMNS}
# Primary result codes that say something of the disk, not of the file's content.
_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)
# lq_bytes: so that a resume finds a cut PNG without opening it.
_COLUMNS = {name: _TYPES.get(name, "REAL") for name in ROW_FIELDS} | {"lq_bytes": "INTEGER"}


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """What is known of one HQ image; valid while ``size`` and ``mtime_ns`` are the file's."""

    set: str
    path: str
    name: str
    size: int
    mtime_ns: int
    hq_sha256: str  # of the whole photo
    width: int
    height: int


class Journal:
    """The SQLite file of one data set. Use as a context manager; closing commits.

    One from an older schema version is brought up to date (see :mod:`cirbench.migrate`). Raises
    CirbenchError when the file is no journal or comes from a newer one.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._work_at_risk = 0.0
        self._committed = time.monotonic()
        with self._damage_reported():
            self._db = sqlite3.connect(self.path)
            self._refuse_programs()
            older = self._migrate()
            self._create()
        fields = tuple(row[1] for row in self._query("PRAGMA table_info(rows)"))
        if fields != tuple(_COLUMNS):
            raise CirbenchError(
                f"{self.path} has other columns than this cirbench writes; use the cirbench that "
                "made it or another --out"
            )
        if len(list(self._query("PRAGMA table_info(images)"))) != len(ImageRecord.__slots__):
            raise CirbenchError(f"{self.path} has another table of images; choose another --out")
        if older:
            self._touch()
        self.set_meta("schema_version", str(SCHEMA_VERSION))

    def _refuse_programs(self) -> None:
        """A journal is tables and indexes: no triggers, no views, no virtual tables."""
        self._db.execute("PRAGMA trusted_schema = OFF")
        kinds = "type NOT IN ('table', 'index') OR sql LIKE 'CREATE VIRTUAL%'"
        for (name,) in self._db.execute(f"SELECT name FROM sqlite_master WHERE {kinds} LIMIT 1"):
            raise CirbenchError(f"{self.path} is no journal: it holds {name!r}, which is no table")

    def _migrate(self) -> bool:
        """Bring an older journal up to date, and say so, before anything else is touched."""
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master")}
        if not {"meta", "rows"} <= tables:
            return False
        version = self.meta("schema_version", str(SCHEMA_VERSION))
        older = migrate.check_version(self.path, version)
        migrate.journal(self._db, self.path, _COLUMNS, self.recipes())
        return older

    def _create(self) -> None:
        columns = ", ".join(f'"{name}" {kind}' for name, kind in _COLUMNS.items())
        self._db.executescript(
            f"""
            CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
            CREATE TABLE IF NOT EXISTS images (
                "set" TEXT, path TEXT, name TEXT, size INTEGER, mtime_ns INTEGER,
                hq_sha256 TEXT, width INTEGER, height INTEGER, PRIMARY KEY ("set", path)
            ) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS rows ({columns}, PRIMARY KEY (row_id)) WITHOUT ROWID;
            DROP INDEX IF EXISTS rows_by_image;
            CREATE INDEX IF NOT EXISTS rows_by_split ON rows ("set", hq_path, split);
            CREATE INDEX IF NOT EXISTS rows_unusable ON rows ("set", hq_path) WHERE task IS NULL;
            """
        )

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.commit()
        finally:
            self._db.close()

    def commit(self) -> None:
        """Make everything so far durable. Raises CirbenchError when the disk is full."""
        with self._writing():
            self._db.commit()
        self._work_at_risk, self._committed = 0.0, time.monotonic()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: Exception) -> CirbenchError:
        return CirbenchError(
            f"{self.path} cannot be written ({error}); make room and run the same command again: "
            "what was committed is kept"
        )

    def _query(self, sql: str, values: Iterable[Any] = ()) -> Iterator[tuple[Any, ...]]:
        with self._damage_reported():
            yield from self._db.execute(sql, [*values])

    @contextmanager
    def _damage_reported(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, UnicodeError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _ROOM:
                raise self._unwritable(error) from error
            why = " ".join(str(error).split())
            raise CirbenchError(
                f"{self.path} cannot be used as a journal ({why}); move it away, and the next "
                "build makes it again from the manifest"
            ) from error

    def _execute(self, sql: str, values: Iterable[Any]) -> None:
        with self._writing():
            self._db.execute(sql, [*values])

    # -- meta ---------------------------------------------------------------------------------

    def meta(self, key: str, default: str = "") -> str:
        """A value about the whole data set."""
        rows = list(self._query("SELECT value FROM meta WHERE key = ?", [key]))
        return str(rows[0][0]) if rows else default

    def recipes(self) -> list[dict[str, Any]]:
        """Name, version and sha256 of every recipe that was built. Raises CirbenchError."""
        try:
            found = json.loads(self.meta("recipes", "[]"))
        except (ValueError, RecursionError) as error:
            raise CirbenchError(f"{self.path} is damaged: its recipes are {error}") from error
        if not isinstance(found, list) or not all(
            isinstance(one, dict) and {"name", "version", "sha256"} <= one.keys() for one in found
        ):
            raise CirbenchError(f"{self.path} is damaged: its recipes are no list of recipes")
        return found

    def set_meta(self, key: str, value: str) -> None:
        """Set a value about the whole data set."""
        if self.meta(key) != value:
            self._execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # -- images -------------------------------------------------------------------------------

    def image(self, set_name: str, path: str) -> ImageRecord | None:
        """What is known of one image."""
        rows = self._query('SELECT * FROM images WHERE "set" = ? AND path = ?', [set_name, path])
        return next((ImageRecord(*row) for row in rows), None)

    def names(self, set_name: str) -> dict[str, str]:
        """The data set's names of all known images of a set, by path."""
        return dict(self._query('SELECT path, name FROM images WHERE "set" = ?', [set_name]))

    def shared_images(self) -> Iterator[ImageRecord]:
        """The images whose pixels are there more than once, by set and path, streamed."""
        several = "SELECT hq_sha256 FROM images GROUP BY hq_sha256 HAVING COUNT(*) > 1"
        order = 'ORDER BY "set", path'
        for row in self._query(f"SELECT * FROM images WHERE hq_sha256 IN ({several}) {order}"):
            yield ImageRecord(*row)

    def put_image(self, image: ImageRecord) -> list[str]:
        """Remember an image; when its pixels changed, rows made from the old ones are dropped.

        Returns the files of the dropped rows, relative to the data set's folder.
        """
        known = self.image(image.set, image.path)
        if known == image:
            return []
        dropped: list[str] = []
        if known and known.hq_sha256 != image.hq_sha256:
            old = '"set" = ? AND hq_path = ? AND photo_sha256 IS NOT ?'
            key = (image.set, image.path, image.hq_sha256)
            for files in self.select("lq_path, bitstream_path", old, key):
                dropped += [path for path in files if path]
            self._execute(f"DELETE FROM rows WHERE {old}", key)
            self._touch()
        values = astuple(image)
        self._execute("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        return dropped

    def tiles(self, set_name: str) -> dict[tuple[str, str], str]:
        """Pixel hash of every coded tile of a set, by path and ``tile``."""
        where = '+"set" = ? AND tile IS NOT NULL'  # "+": read on; an index would jump about
        rows = self._query(f"SELECT hq_path, tile, hq_sha256 FROM rows WHERE {where}", [set_name])
        return {(path, tile): sha256 for path, tile, sha256 in rows}

    # -- rows ---------------------------------------------------------------------------------

    def add(self, row: Mapping[str, Any], replaces: str = "") -> None:
        """Record one finished row (and drop the row ``replaces``); commits about once a second."""
        marks = ", ".join("?" * len(_COLUMNS))
        values = [row.get(name) for name in _COLUMNS]
        self._execute(f"INSERT OR REPLACE INTO rows VALUES ({marks})", values)
        if replaces:
            self.delete([replaces])
        self._touch()
        self._work_at_risk += (row.get("encode_seconds") or 0) + (row.get("decode_seconds") or 0)
        self.commit_now_and_then()

    def commit_now_and_then(self) -> None:
        """Commit when a second of work, or a second, has passed since the last time."""
        if self._work_at_risk >= 1 or time.monotonic() - self._committed >= 1:
            self.commit()

    def update(self, row_id: str, **values: Any) -> None:
        """Change single fields of a row that exists."""
        assignments = ", ".join(f'"{name}" = ?' for name in values)
        self._execute(f"UPDATE rows SET {assignments} WHERE row_id = ?", (*values.values(), row_id))
        self._touch()
        self.commit_now_and_then()

    def delete(self, row_ids: Iterable[str]) -> None:
        """Forget rows."""
        for row_id in row_ids:
            self._execute("DELETE FROM rows WHERE row_id = ?", (row_id,))
        self._touch()

    def splits(self, set_name: str) -> dict[str, str]:
        """The recorded split of every image of a set, by path."""
        rows = self._query('SELECT DISTINCT hq_path, split FROM rows WHERE "set" = ?', [set_name])
        return {row[0]: row[1] for row in rows}

    def set_split(self, set_name: str, path: str, split: str) -> None:
        """Move an image, with all its rows, into another split."""
        where = '"set" = ? AND hq_path = ?'
        self._execute(f"UPDATE rows SET split = ? WHERE {where}", (split, set_name, path))
        self._touch()

    def select(
        self, columns: str, where: str = "", values: Iterable[Any] = ()
    ) -> Iterator[tuple[Any, ...]]:
        """Stream ``columns`` of the rows, sorted by row id."""
        condition = f"WHERE {where}" if where else ""
        return self._query(f"SELECT {columns} FROM rows {condition} ORDER BY row_id", values)

    def unusable(self) -> Iterator[tuple[str, str, str]]:
        """(row id, set, path) of the error rows of HQ files that cannot be used."""
        for row in self._query('SELECT row_id, "set", hq_path FROM rows WHERE task IS NULL'):
            yield row[0], row[1], row[2]

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """All rows as tuples of :data:`ROW_FIELDS`, sorted by row id, streamed."""
        yield from self.select(", ".join(f'"{name}"' for name in ROW_FIELDS))

    def is_empty(self) -> bool:
        """No row was ever made, or the journal is a new one."""
        return not list(self._query("SELECT 1 FROM rows LIMIT 1"))

    # -- is the parquet manifest up to date? -----------------------------------------------------

    def _touch(self) -> None:
        if self.meta("manifest_current") != "no":
            self.set_meta("manifest_current", "no")

    def manifest_is_current(self, stamp: str) -> bool:
        """True when no row changed since the manifest with this stamp was written."""
        return self.meta("manifest_current") == stamp

    def manifest_written(self, stamp: str) -> None:
        """Remember the manifest (its size and time as ``stamp``) that holds the present rows."""
        self.set_meta("manifest_current", stamp)
