"""Frozen records of settings, filled from a TOML file or from ``--set key=value``."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from .errors import CirbenchError
from .suggest import hint

Record = TypeVar("Record")


def to_dict(record: Any) -> dict[str, Any]:
    """Plain dictionaries, lists and numbers (fit for JSON and TOML)."""
    return {one.name: _plain(getattr(record, one.name)) for one in dataclasses.fields(record)}


def fill(base: Record, values: Mapping[str, Any], owner: str = "this") -> Record:
    """``base`` with nested (or dotted: ``"sampler.steps"``) values in the place of its own.

    Fields that are records are filled in turn; those that are mappings are merged, key by key.

    Args:
        base: a frozen dataclass.
        values: what to change.
        owner: what has these settings, for messages: "a model".

    Raises CirbenchError, naming the key, for an unknown key or a value of the wrong type.
    """
    made = _filled(base, _nested(values), "", owner)
    assert isinstance(made, type(base))
    return made


def assignments(texts: Iterable[str]) -> dict[str, Any]:
    """``key=value`` texts as a mapping; a value is TOML, or else a plain string.

    Raises CirbenchError for a text without ``=``.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise CirbenchError(f"{text!r} sets nothing; write key=value, e.g. model.prompt=moe")
        try:
            found[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key.strip()] = value.strip()
    return found


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in values.items():
        *path, last = key.split(".")
        at = result
        for name in path:
            at = at.setdefault(name, {})
        inner = _nested(value) if isinstance(value, Mapping) else value
        at[last] = _merged(at.get(last), inner)
    return result


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {**old, **{key: _merged(old.get(key), one) for key, one in new.items()}}
    return new


def _filled(base: Any, values: Mapping[str, Any], prefix: str, owner: str) -> Any:
    hints = typing.get_type_hints(type(base))
    changes = {}
    for key, value in values.items():
        name = prefix + key
        if key not in hints:
            raise CirbenchError(f"{owner} has no setting {name!r}; {hint(key, hints)}")
        old = getattr(base, key)
        if not dataclasses.is_dataclass(old) and not isinstance(old, Mapping):
            changes[key] = _typed(name, value, hints[key])
        elif not isinstance(value, Mapping):
            raise CirbenchError(f"{name} is a table of settings; set one of them: {name}.KEY=…")
        elif any(dataclasses.is_dataclass(one) for one in _values(old)):
            changes[key] = _records(old, value, name + ".", owner)
        elif isinstance(old, Mapping):
            changes[key] = _merged(old, value)
        else:
            changes[key] = _filled(old, value, name + ".", owner)
    return dataclasses.replace(base, **changes)


def _values(table: Any) -> list[Any]:
    return list(table.values()) if isinstance(table, Mapping) else []


def _records(old: Any, values: Mapping[str, Any], prefix: str, owner: str) -> dict[str, Any]:
    """A mapping from fixed names to records."""
    if unknown := [name for name in values if name not in old]:
        wrong = unknown[0]
        raise CirbenchError(f"{owner} has no setting {prefix + wrong!r}; {hint(wrong, old)}")
    filled = {
        name: _filled(old[name], one, f"{prefix}{name}.", owner) for name, one in values.items()
    }
    return {**old, **filled}


def _typed(name: str, value: Any, wanted: Any) -> Any:
    if isinstance(wanted, types.GenericAlias):
        kinds = [one for one in typing.get_args(wanted) if one is not Ellipsis]
        if isinstance(value, list | tuple):
            repeated = Ellipsis in typing.get_args(wanted)
            each = kinds * len(value) if repeated else kinds
            if len(each) == len(value):
                return tuple(_typed(name, one, kind) for one, kind in zip(value, each, strict=True))
    elif wanted is float and type(value) in (int, float):
        return float(value)
    elif type(value) is wanted:
        return value
    raise CirbenchError(f"{name} is {value!r}; give it a {getattr(wanted, '__name__', wanted)}")
