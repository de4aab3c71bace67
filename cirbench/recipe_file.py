"""Recipes as TOML text: parsed and checked, with errors that name the line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from . import codecs, toml
from .codecs import Codec
from .errors import CirbenchError
from .recipe import KINDS, LevelException, Recipe, Task

_HEADER = re.compile(r"\s*(\[\[?)\s*([\w.\"'-]+)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"\s*([\w.\"'-]+)\s*=")
_MULTILINE = re.compile(r'"""(?:.|\n)*?"""|\'\'\'(?:.|\n)*?\'\'\'')

Lines = Mapping[tuple[str, int, str], int]
"""(table, its number, key) -> line, all counted from 1; the top level is table ``""`` number 0."""


def line_numbers(text: str) -> dict[tuple[str, int, str], int]:
    """Where the tables and keys of a TOML text are, which tomllib does not tell.

    Returns:
        (table, n, key) -> line number: of the first such key in the n-th ``[[table]]``, with the
        key ``""`` for the header itself; ``("", 0, key)`` for keys before any header. Keys of a
        sub-table are ``"settings.preset"``; keys inside an inline table are not listed.
    """
    text = _MULTILINE.sub(lambda found: "\n" * found.group().count("\n"), text)
    found: dict[tuple[str, int, str], int] = {}
    count: Counter[str] = Counter()
    table, prefix = "", ""
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            table, _, below = re.sub(r"[\"']", "", header[2]).partition(".")
            count[table] += header[1] == "[[" and not below
            found.setdefault((table, count[table], below), number)
            prefix = f"{below}." if below else ""
        elif key := _KEY.match(line):
            name = prefix + re.sub(r"[\"']", "", key[1])
            found.setdefault((table, count[table], name), number)
    return found


@dataclass(frozen=True)
class _Place:
    """One table of the file: turns errors about its keys into errors with a line."""

    lines: Lines
    table: str = ""
    number: int = 0

    def line(self, key: str = "") -> int:
        """The line of ``key``, or of the nearest thing around it that has one."""
        places = (
            (self.table, self.number, key),
            (self.table, self.number, key.partition(".")[0]),
            (self.table, self.number, ""),
            ("", 0, self.table),
        )
        return next((self.lines[place] for place in places if place in self.lines), 1)

    @contextmanager
    def at(self, key: str = "") -> Iterator[None]:
        """Put the line of ``key`` in front of a CirbenchError's text."""
        try:
            yield
        except CirbenchError as error:
            raise CirbenchError(f"line {self.line(key)}: {error}") from error

    def check_keys(self, raw: Mapping[str, Any], known: tuple[str, ...]) -> None:
        """Refuse keys that mean nothing here."""
        for key in raw:
            with self.at(key):
                _require(key in known, f"unknown key {key!r}; known are {', '.join(known)}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise CirbenchError(message)


def parse(text: str) -> Recipe:
    """A recipe from TOML text.

    Raises CirbenchError naming the line, for a text that is no TOML, unknown keys, levels or
    settings a codec does not take, tasks given twice and tasks that contradict each other.
    """
    raw = toml.loads(text)
    lines = line_numbers(text)
    top = _Place(lines)
    top.check_keys(raw, ("name", "version", "description", "task", "exception"))
    with top.at("name"):
        _require(isinstance(raw.get("name"), str), "the recipe needs a name (text)")
    with top.at("version"):
        _require(type(raw.get("version")) is int, "the recipe needs a version (whole number)")
    with top.at("description"):
        _require(isinstance(raw.get("description", ""), str), "the description must be text")
    tasks: list[tuple[Task, int]] = []
    for place, entry in _entries(raw, "task", lines):
        _add(tasks, place, entry)
    _require(bool(tasks), "the recipe has no [[task]]")
    _check_cross_type(tasks)
    exceptions = [_exception(*given) for given in _entries(raw, "exception", lines)]
    found = tuple(task for task, _ in tasks)
    return Recipe(raw["name"], raw["version"], raw.get("description", ""), found, tuple(exceptions))


def _entries(
    raw: Mapping[str, Any], table: str, lines: Lines
) -> Iterator[tuple[_Place, dict[str, Any]]]:
    entries = raw.get(table, [])
    with _Place(lines, table).at():
        listed = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
        _require(listed, f"write [[{table}]], with two brackets, once for each")
    for number, entry in enumerate(entries, 1):
        yield _Place(lines, table, number), entry


def _add(tasks: list[tuple[Task, int]], place: _Place, entry: dict[str, Any]) -> None:
    """Append the tasks of one ``[[task]]``, each with the line of its levels."""
    place.check_keys(entry, ("codec", "levels", "kind", "settings"))
    codec, levels = _codec_and_levels(place, entry)
    kind = entry.get("kind", "other")
    with place.at("kind"):
        _require(kind in KINDS, f"kind {kind!r} must be one of {', '.join(KINDS)}")
    settings = _settings(place, codec, entry.get("settings", {}))
    for level in levels:
        seen = sum(task.kind == "seen" for task, _ in tasks)
        task = Task(codec.name, level, settings, kind, seen if kind == "seen" else None)
        with place.at("levels"):
            _check_new(task, tasks)
        tasks.append((task, place.line("levels")))


def _check_new(task: Task, tasks: list[tuple[Task, int]]) -> None:
    """Refuse a task whose key is already there: the same again, or a contradiction."""
    for other, line in tasks:
        if other.key != task.key:
            continue
        changes = {key: pair for key, pair in other.changes(task).items() if key != "id"}
        if not changes:
            raise CirbenchError(f"repeats {task.key} of line {line}")
        texts = [f"{key} {was} there, {now} here" for key, (was, now) in changes.items()]
        raise CirbenchError(f"{task.key} contradicts line {line}: {', '.join(texts)}")


def _codec_and_levels(place: _Place, entry: dict[str, Any]) -> tuple[Codec, list[int | str]]:
    with place.at("codec"):
        _require(isinstance(entry.get("codec"), str), "this table needs a codec (its name)")
        codec = codecs.get(entry["codec"])
    with place.at("levels"):
        given = entry.get("levels")
        if not isinstance(given, list) or not given:
            raise CirbenchError('levels must be a list of levels, as in [5, 10] or ["low"]')
        return codec, [codec.level(level) for level in given]


def _settings(place: _Place, codec: Codec, given: object) -> dict[str, Any]:
    """Complete settings; tried one by one, so that the line of the bad one can be named."""
    with place.at("settings"):
        if not isinstance(given, dict):
            raise CirbenchError('settings must be a table, as in { preset = "fast" }')
    settings, chosen = codec.settings(), {}
    for key in sorted(given, key=lambda key: key != "encoder"):
        with place.at(f"settings.{key}"):
            plain = type(given[key]) in (str, int)  # true and 8.0 equal 1 and 8, but hash unequal
            _require(plain, f"setting {key!r} must be text or a whole number")
            chosen[key] = given[key]
            settings = codec.settings(**chosen)
    return settings


def _check_cross_type(tasks: list[tuple[Task, int]]) -> None:
    seen = {task.codec: line for task, line in reversed(tasks) if task.kind == "seen"}
    for task, line in tasks:
        if task.kind == "cross-type" and task.codec in seen:
            raise CirbenchError(
                f"line {line}: {task.key} is cross-type, an unseen codec, which contradicts line "
                f"{seen[task.codec]} where {task.codec} is seen; an unseen level is cross-degree"
            )


def _exception(place: _Place, entry: dict[str, Any]) -> LevelException:
    place.check_keys(entry, ("sets", "codec", "levels"))
    codec, levels = _codec_and_levels(place, entry)
    with place.at("sets"):
        sets = entry.get("sets")
        if not isinstance(sets, list) or not all(isinstance(name, str) for name in sets):
            raise CirbenchError('sets must be a list of names, as in ["live1"]')
    return LevelException(tuple(sets), codec.name, tuple(levels))
