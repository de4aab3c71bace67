"""What a check says: one line, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

OK, NOTE, PROBLEM = "ok", "note", "problem"


@dataclass(frozen=True)
class Finding:
    """One line of ``cirbench doctor``.

    Attributes:
        state: ``OK``; ``NOTE`` (something optional is missing or slow); ``PROBLEM`` (something
            needed is broken).
        what: the thing that was looked at: ``"vvc"``, ``"disk"``.
        text: what was found.
        todo: what to do about it; ``""`` when there is nothing.
    """

    state: str
    what: str
    text: str
    todo: str = ""
