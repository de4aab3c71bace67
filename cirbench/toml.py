"""TOML files that anyone may have written: a value, or one sentence."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any

from .errors import CirbenchError
from .limits import MAX_TEXT


def read(path: Path) -> dict[str, Any]:
    """The contents of a TOML file.

    Raises FileNotFoundError when there is none; CirbenchError, naming the file, when it cannot be
    read or is no TOML.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CirbenchError(f"{path} is not a regular file")
        if status.st_size > MAX_TEXT:
            raise CirbenchError(f"{path} is larger than {MAX_TEXT} bytes")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CirbenchError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise CirbenchError(f"{path}: {error}") from error
    try:
        return loads(text)
    except CirbenchError as error:
        raise CirbenchError(f"{path}: {error}") from error


def loads(text: str) -> dict[str, Any]:
    """The contents of a TOML text.

    Raises CirbenchError for a text that is none, is too long or too deeply nested, or has a whole
    number beyond the 64 bits of TOML 1.0.
    """
    if len(text) > MAX_TEXT:
        raise CirbenchError(f"it is longer than {MAX_TEXT} characters")
    try:
        found = tomllib.loads(text)
    except RecursionError as error:
        raise CirbenchError("it is nested too deeply") from error
    except ValueError as error:
        raise CirbenchError(str(error)) from error
    left: list[Any] = [found]
    while left:
        one = left.pop()
        left += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        if isinstance(one, int) and not -(2**63) <= one < 2**63:
            raise CirbenchError("it has a whole number of more than 64 bits")
    return found
