"""Markup, safe by default: plain strings are escaped, only :class:`Html` goes in as it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from ..printable import clean

TIMES = "\N{MULTIPLICATION SIGN}"


class Html(str):
    """Text that is markup already. Made by :func:`tag` and :func:`join` only."""

    __slots__ = ()


Attribute = str | float | bool | None


def text(value: str) -> Html:
    """A plain string as markup; markup as it is."""
    return value if isinstance(value, Html) else Html(escape(clean(str(value))))


def join(parts: Iterable[str | None], between: str = "") -> Html:
    """Parts one after another, plain ones escaped, ``None`` left out."""
    return Html(text(between).join(text(part) for part in parts if part is not None))


_VOID = ("br", "img", "input", "meta")


def tag(name: str, /, *children: str | None, **attributes: Attribute) -> Html:
    """``<name attributes>children</name>``.

    Attributes: a trailing underscore goes, others become hyphens; False and None are left out,
    True is the bare name, floats are written with two decimals at most.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    key = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {key}"
    if isinstance(value, float):
        value = short(value)
    return f' {key}="{escape(clean(str(value)))}"'


def short(value: float) -> str:
    """A coordinate: two decimals at most, no trailing zeros."""
    return f"{value + 0.0:.2f}".rstrip("0").rstrip(".")


def number(value: float | None, digits: int, sign: bool = False) -> str:
    """A value with a fixed number of decimals, a true minus, an en dash where there is none."""
    if value is None or math.isnan(value):
        return "\N{EN DASH}"
    if math.isinf(value):
        return "\N{INFINITY}" if value > 0 else "\N{MINUS SIGN}\N{INFINITY}"
    written = f"{value:{'+' if sign else ''}.{digits}f}"
    if float(written) == 0:  # no "-0.00", no "+0.00"
        written = f"{0:.{digits}f}"
    return written.replace("-", "\N{MINUS SIGN}")


def table(
    head: Sequence[str | None],
    rows: Iterable[Sequence[str | None]],
    *,
    caption: str | None = None,
    left: int = 1,
    kind: str = "",
) -> Html:
    """A table in a frame that scrolls sideways on a narrow screen.

    Args:
        head: the columns' names.
        rows: cells, plain text or markup; the first of a row is its header.
        caption: what the table shows.
        left: this many columns are flush left, the others (numbers) flush right.
        kind: CSS classes.
    """

    def side(column: int) -> str | None:
        return None if column < left else "n"

    heads = (tag("th", name, scope="col", class_=side(i)) for i, name in enumerate(head))
    body = (
        tag(
            "tr",
            *(
                tag("th", cell, scope="row", class_=side(0))
                if i == 0
                else tag("td", cell, class_=side(i))
                for i, cell in enumerate(row)
            ),
        )
        for row in rows
    )
    content = tag(
        "table",
        tag("caption", caption) if caption else None,
        tag("thead", tag("tr", *heads)),
        tag("tbody", *body),
        class_=kind or None,
    )
    label = caption if caption and not isinstance(caption, Html) else "table"
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=label)


def tabs(label: str, panels: Sequence[tuple[str, Html]], name: str) -> Html:
    """Panels of which one is shown, chosen by radio buttons; all are shown without scripts.

    Args:
        label: what is chosen, for screen readers.
        panels: title and contents; a single one gets no buttons.
        name: unique on the page; becomes the radio buttons' name and the panels' ids.
    """
    boxes = join(
        tag("div", content, id=f"{name}-{i}", class_="panel")
        for i, (_, content) in enumerate(panels)
    )
    if len(panels) < 2:
        return boxes
    buttons = (
        tag(
            "label",
            tag("input", type="radio", name=name, value=f"{name}-{i}", checked=i == 0),
            tag("span", title),
        )
        for i, (title, _) in enumerate(panels)
    )
    legend = tag("legend", label, class_="unseen")
    return join((tag("fieldset", legend, *buttons, class_="tabs", data_tabs=True), boxes))
