"""Data sets of older cirbench versions: a column they lack is filled in where it is known for sure.

Schema version 1 lacks ``photo_sha256``: nothing was cut into tiles then, so it is ``hq_sha256``.
The oldest of that version lack ``recipe``, too: it is known where only one was used.

Everything else is refused in one sentence: a guess in a manifest is worse than a build.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from . import __version__, manifest_check
from .errors import CirbenchError
from .schema import ARROW_SCHEMA, NAMES, SCHEMA_VERSION


def check_version(path: Path, version: object, made_with: str = "") -> bool:
    """True for a file of an older schema version. Raises CirbenchError for a newer one."""
    text = str(version)
    if not text.isdigit():
        raise CirbenchError(f"{path} is damaged: its schema version is {text!r}")
    if int(text) > SCHEMA_VERSION:
        by = f"cirbench {made_with}" if made_with else "a newer cirbench"
        raise CirbenchError(
            f"{path} was made by {by} and has schema version {text}, this cirbench "
            f"({__version__}) reads up to {SCHEMA_VERSION}; run pip install --upgrade cirbench"
        )
    return int(text) < SCHEMA_VERSION


def table(old: pa.Table, metadata: Mapping[str, Any], path: Path) -> pa.Table:
    """The rows of an older manifest with all columns of today, in their order.

    Raises CirbenchError, naming ``path``, when a column is missing that cannot be filled in.
    """
    lacking = _lacking(old.column_names, path)
    if "photo_sha256" in lacking:
        _refuse_tiles(old.num_rows - old["tile"].null_count, path)
        old = old.append_column("photo_sha256", old["hq_sha256"])
    if "recipe" in lacking:
        name = pa.scalar(_only_recipe(metadata.get("recipes", []), path))
        empty = pa.scalar(None, pa.string())
        old = old.append_column("recipe", pc.if_else(pc.is_valid(old["task"]), name, empty))
    try:
        return old.select(NAMES).cast(ARROW_SCHEMA).replace_schema_metadata(old.schema.metadata)
    except (pa.ArrowException, ValueError) as error:
        raise manifest_check.damaged(path, error) from error


def journal(
    db: sqlite3.Connection, path: Path, columns: Mapping[str, str], recipes: Sequence[Any]
) -> None:
    """Give the rows of an older journal all columns of today: at once, or not at all.

    Args:
        db: the journal.
        path: its file, for messages.
        columns: name and SQL type of all columns, in order.
        recipes: those the journal knows.

    Raises CirbenchError when a column is missing that cannot be filled in.
    """
    found = [row[1] for row in db.execute("PRAGMA table_info(rows)")]
    if found == [*columns]:
        return
    optional = [name for name in columns if name not in NAMES]
    lacking = _lacking([*found, *optional], path)
    values = dict.fromkeys((name for name in optional if name not in found), "NULL")
    given: list[str] = []
    if "photo_sha256" in lacking:
        cut = db.execute("SELECT COUNT(*) FROM rows WHERE tile IS NOT NULL").fetchone()[0]
        _refuse_tiles(cut, path)
        values["photo_sha256"] = "hq_sha256"
    if "recipe" in lacking:
        values["recipe"] = "CASE WHEN task IS NULL THEN NULL ELSE ? END"
        given.append(_only_recipe(recipes, path))
    types = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    selected = ", ".join(values.get(name, f'"{name}"') for name in columns)
    db.commit()
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute(f"CREATE TABLE filled ({types}, PRIMARY KEY (row_id)) WITHOUT ROWID")
        db.execute(f"INSERT INTO filled SELECT {selected} FROM rows", given)
        db.execute("DROP TABLE rows")
        db.execute("ALTER TABLE filled RENAME TO rows")
        db.execute("DELETE FROM meta WHERE key = 'manifest_current'")  # write it anew
        db.commit()
    except BaseException:
        db.rollback()
        raise


_FILLED = ("photo_sha256", "recipe")


def _lacking(found: Sequence[str], path: Path) -> set[str]:
    lacking = [name for name in NAMES if name not in found]
    unknown = [name for name in lacking if name not in _FILLED]
    if unknown:
        raise CirbenchError(
            f"{path} was made by an older cirbench and lacks the column {unknown[0]}, which cannot "
            "be filled in; build it again into another --out"
        )
    return set(lacking)


def _refuse_tiles(count: int, path: Path) -> None:
    if count:
        raise CirbenchError(
            f"{path} lacks the column photo_sha256 and has {count} rows of tiles, for which it "
            "cannot be filled in; build it again into another --out"
        )


def _only_recipe(recipes: Sequence[Any], path: Path) -> str:
    names = sorted({str(one["name"]) for one in recipes})
    if len(names) != 1:
        which = " and ".join(names) or "none"
        raise CirbenchError(
            f"{path} was made by an older cirbench that did not record which row is of which "
            f"recipe, and names {which}; build it again into another --out"
        )
    return names[0]
