"""Names that anyone may have given, as text that only shows itself."""

from __future__ import annotations


def clean(text: str) -> str:
    r"""``text`` with what cannot be seen spelt out: a photo's name may hold anything.

    Line breaks and tabs stay; other control characters (terminals obey some of them) and the ones
    that turn the direction of writing become ``\x..`` or ``\u....``.
    """
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def line(text: str) -> str:
    """:func:`clean` text on one line."""
    return " ".join(clean(text).split())


def cell(text: str) -> str:
    """A text on one line as a cell of a CSV: a spreadsheet runs one that begins like a formula.

    It gets an apostrophe in front, as OWASP advises ("CSV Injection").
    """
    plain = line(text)
    return f"'{plain}" if plain.startswith(("=", "+", "-", "@")) else plain
