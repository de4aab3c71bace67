"""What a mistyped name may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def hint(wrong: str, known: Iterable[str], most: int = 3) -> str:
    """The end of a sentence about a name that does not exist.

    >>> hint("vcc", ["jpeg", "vvc"])
    'did you mean vvc?'
    >>> hint("png", ["jpeg", "vvc"])
    'there are jpeg, vvc'

    Args:
        wrong: what was given; capitals do not matter.
        known: what there is, in the order to list it.
        most: at most so many names that are near, the nearest first.
    """
    names = list(dict.fromkeys(known))
    lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(wrong.lower(), lower, n=most)
    if near:
        return f"did you mean {', '.join(lower[name] for name in near)}?"
    return f"there are {', '.join(names)}" if names else "there are none"
