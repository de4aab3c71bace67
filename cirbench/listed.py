"""Several values written as one text, as one value or as a list."""

from __future__ import annotations

from collections.abc import Sequence

Values = int | str | Sequence[int | str]


def listed(values: Values) -> list[str]:
    """``37``, ``"37, 42"`` or ``[37, 42]`` as texts; empty parts are dropped."""
    if isinstance(values, str):
        return [part.strip() for part in values.split(",") if part.strip()]
    return [str(value) for value in ([values] if isinstance(values, int) else values)]
