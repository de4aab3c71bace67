"""Griffe extension: docstrings are written for ``help()``; the API page wants Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Markdown(griffe.Extension):
    """``>>>`` lines become code blocks, ``:class:`X``` becomes ``X`` in code style."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every object with its docstring as it was written."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """A docstring as Markdown."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        starts = line.startswith(">>>")
        if starts and not inside:
            lines.append("```pycon")
        if inside and not line.strip():
            lines.append("```")
        inside = starts or (inside and bool(line.strip()))
        lines.append(line)
    return "\n".join([*lines, "```"] if inside else lines)
