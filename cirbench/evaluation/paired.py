"""Two methods against each other, over the same images."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from . import aggregate
from .cells import Pairs, titles
from .results import LQ, MISSING, Cell, Column, Table
from .tables import KINDS, prepared


def paired(
    scores: pa.Table, pairs: Pairs, models: Sequence[str], against: str = LQ
) -> Table | None:
    """Every other model minus ``against``, over the same images; None when there is none."""
    others = [model for model in models if model != against]
    rows = []
    for model in others:
        keys = ["set", "kind", "metric", "protocol"]
        found = aggregate.differences(prepared(scores), model, against, keys)
        order = {(m.name, p): index for index, (m, p) in enumerate(pairs)}
        names = dict(zip(order, titles(pairs), strict=True))
        digits = {(m.name, p): m.digits for m, p in pairs}
        for key in sorted(
            (key for key in found if key[2:] in order),
            key=lambda key: (str(key[0]), KINDS.index(str(key[1])), order[key[2:]]),  # type: ignore[index]
        ):
            one, what = found[key], (str(key[2]), str(key[3]))
            places = digits[what] + 1
            bounds = (
                MISSING if one.low is None else f"[{one.low:+.{places}f}, {one.high:+.{places}f}]"
            )
            rows.append(
                (
                    *(Cell(str(text)) for text in (key[0], key[1], names[what], model)),
                    Cell(f"{one.mean:+.{places}f}", "", one.mean, one.low, one.high, one.images),
                    Cell(bounds),
                    Cell(MISSING if one.p is None else f"{one.p:.4f}", "", one.p),
                    Cell(str(one.images)),
                )
            )
    if not rows:
        return None
    heads = ("set", "kind", "metric", "model", f"minus {against}", "95 % interval", "p", "images")
    notes = (
        "mean difference over images; interval: bootstrap over images; p: two-sided sign-flip"
        " permutation test over images (not corrected for the number of tests)",
    )
    title = f"paired differences to {against}"
    return Table("paired", title, tuple(map(Column, heads)), tuple(rows), notes, 4)
