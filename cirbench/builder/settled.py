"""What earlier builds of a data set settled: its modes, encoder versions, recipes and folders."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from .. import roots
from ..errors import CirbenchError
from ..recipe import Recipe
from ..sources import Source
from . import store
from .journal import FILE_NAME, Journal


def recorded_modes(out: Path) -> tuple[str, str]:
    """(store, hq) that the data set in ``out`` was built with, "" for what is not recorded.

    Reads only: a build may be at work there.
    """
    journal = (out / FILE_NAME).absolute()
    try:
        with closing(sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True)) as db:
            found = dict(db.execute("SELECT key, value FROM meta"))
    except sqlite3.Error:  # none, or a damaged one, of which the build tells
        return "", ""
    return found.get("store", ""), found.get("hq", "")


def modes(store_mode: str | None, hq: str | None, journal: Journal, out: Path) -> tuple[str, str]:
    """(store, hq) of the data set; refuses to change what an earlier build chose."""
    chosen = []
    defaults = (("store", store_mode, "png"), ("hq", hq, "ref"))
    for key, wanted, default in defaults:
        recorded = "" if journal.is_empty() and wanted else journal.meta(key)
        if wanted and recorded and wanted != recorded:
            raise CirbenchError(
                f"{out} was built with --{key} {recorded}, this build says --{key} {wanted}; "
                "choose another --out" + (" or use cirbench materialize" if key == "store" else "")
            )
        chosen.append(recorded or wanted or default)
        journal.set_meta(key, chosen[-1])
    return chosen[0], chosen[1]


def check_versions(journal: Journal, versions: Mapping[tuple[str, str], tuple[str, str]]) -> None:
    """Refuse to mix rows of two versions of one encoder or decoder in one data set."""
    for (codec, encoder), here in versions.items():
        where = "status != 'error' AND codec = ? AND encoder = ?"
        fields = "encoder_version, decoder_version"
        for recorded in journal.select(fields, where, (codec, encoder)):
            if recorded != here:
                old, new = (" / ".join(dict.fromkeys(pair)) for pair in (recorded, here))
                raise CirbenchError(
                    f"the {codec} rows in {journal.path.parent} were made with {old}, this machine "
                    f"has {new}; install that version again or choose another --out"
                )
            break  # all rows of one encoder agree, by this very check


def check_weights(journal: Journal, weights: Mapping[tuple[str, str, str], str]) -> None:
    """Refuse to mix rows that two weight files of one codec, level and settings made."""
    where = "status != 'error' AND codec = ? AND level = ? AND settings = ?"
    for key, here in weights.items():
        for (recorded,) in journal.select("weights_sha256", where, key):
            if recorded != here:
                raise CirbenchError(
                    f"the {key[0]} rows at {key[1]} in {journal.path.parent} were made with other "
                    f"weights (sha256 {str(recorded)[:12]}, not {here[:12]}); give the same file "
                    "again (--weights-dir) or choose another --out"
                )
            break  # all rows of one level and settings agree, by this very check


def remember(recipe: Recipe, sources: Sequence[Source], journal: Journal, out: Path) -> None:
    """Record the sources in roots.toml and the recipe in the journal.

    Raises CirbenchError, and records nothing, for a set whose name is that of another folder.
    """
    known = roots.read(out)
    for source in sources:
        if source.set == "sample":
            continue  # found inside scikit-image, wherever that is
        if not _is_text(source.root):
            raise CirbenchError(f"{str(source.root)!r} is no UTF-8 name; rename the folder")
        before = known.get(source.set)
        if before and before.is_dir() and not before.samefile(source.root):
            raise CirbenchError(
                f"in {out} the set {source.set!r} is {before}; name the other folder: "
                f"{source.set}2={source.root}"
            )
        known[source.set] = source.root
    if known != roots.read(out):
        store.write(out, roots.FILE_NAME, roots.text(known).encode())
    entry = {
        "name": recipe.name,
        "version": recipe.version,
        "sha256": recipe.sha256,
    }
    recipes = [r for r in journal.recipes() if r != entry] + [entry]
    recipes.sort(key=lambda r: (r["name"], r["version"], r["sha256"]))
    journal.set_meta("recipes", json.dumps(recipes))


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
