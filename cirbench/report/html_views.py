"""The pictures' markup: a slider between two views, and all views side by side in one zoom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import codecs
from ..evaluation.results import LQ
from .html_data import Data, Measure
from .html_palette import swatch
from .html_pictures import Picture, Pictures, choose, load
from .html_text import TIMES, Html, join, number, table, tabs, tag

_RANKS = {"best": "Best", "median": "Median", "worst": "Worst"}
_KEYS = "arrows pan, plus and minus zoom, 0 shows all"


def section(data: Data, measure: Measure, budget: int) -> Html:
    """Best, median and worst image of every codec, a tab per codec."""
    pictures = load(data, choose(data, measure), budget)
    panels = []
    for codec in data.codecs:
        mine = [one for one in pictures.shown if one.case.codec == codec]
        if mine:
            panels.append((codecs.get(codec).title, join(_case(data, one) for one in mine)))
    return join((_words(data, measure, pictures, budget), tabs("Codec", panels, "pictures")))


def _words(data: Data, measure: Measure, pictures: Pictures, budget: int) -> Html:
    by = f"gain of {data.models[0]} over the LQ in" if data.models else "LQ's"
    paragraphs = [
        f"Images of each codec, over all its tasks, ranked by the {by} {measure.title}. Views are "
        f"the busiest {pictures.side}{TIMES}{pictures.side} pixels of each photo, lossless; "
        "only the overviews are compressed again.",
    ]
    if pictures.dropped:
        names = ", ".join(f"{codecs.get(c.codec).title} {c.rank}" for c in pictures.dropped)
        total = len(pictures.dropped) + len(pictures.shown)
        paragraphs.append(
            f"{len(pictures.shown)} of {total} pictures are shown: the others "
            f"({names}) would take this file over its budget of {budget / 1e6:g} MB of pictures."
        )
    parts = [tag("p", text, class_="quiet") for text in paragraphs]
    parts += [tag("p", text, class_="trouble") for text in pictures.problems]
    help_ = (
        "Slider: drag, or arrow keys. Views: drag to move, double-click or Ctrl+wheel to zoom; "
        f"from the keyboard, {_KEYS}."
    )
    return join([*parts, tag("p", help_, class_="quiet screen")])


def _case(data: Data, picture: Picture) -> Html:
    case, rows = picture.case, data.rows
    name, task = str(rows["hq_path"][case.place]), str(rows["task"][case.place])
    variant = str(rows["variant"][case.place])
    left, top, width, height = picture.box
    where = f"{picture.size[0]}{TIMES}{picture.size[1]}"
    if picture.overview:
        where += f", shown {width}{TIMES}{height} at ({left}, {top})"
    if rows["tile"][case.place]:
        where = f"tile {rows['tile'][case.place]}, {where}"
    title = tag(
        "h4",
        tag("span", _RANKS[case.rank], class_=f"rank {case.rank}"),
        swatch(case.codec),
        tag("span", f"{task} {variant}".strip(), class_="task"),
        tag("span", name, class_="photo"),
    )
    bpp = f"{float(rows['bpp'][case.place]):.3f} bpp"
    small = tag("p", f"{rows['set'][case.place]} · {where} · {bpp}", class_="quiet")
    head = tag(
        "header",
        _overview(picture),
        tag("div", title, small, class_="about"),
        _scores(data, case.place),
    )
    views = [
        _view(key, uri, f"{key} of {name}, {task}", width, height) for key, uri in picture.views
    ]
    names = [key for key, _ in picture.views]
    return tag(
        "article",
        head,
        _tools(f"{task} {name}"),
        tag("div", _stage(names, width, height, f"{name}, {task}"), *views, class_="views"),
        class_="case",
        data_views=str(len(views)),
    )


def _overview(picture: Picture) -> Html | None:
    if not picture.overview:
        return None
    width, height = picture.size
    left, top, wide, high = picture.box
    frame = tag("rect", x=left, y=top, width=wide, height=high, class_="frame")
    drawing = tag(
        "svg",
        frame,
        viewBox=f"0 0 {width} {height}",
        aria_hidden="true",
        preserveAspectRatio="none",
    )
    image = tag("img", src=picture.overview, alt="The whole HQ photo; a frame shows the crop")
    return tag("div", image, drawing, class_="overview")


def _scores(data: Data, place: int) -> Html:
    """The image's own scores under every measure that scores images."""
    models = (LQ, *data.models)
    measures = [one for one in data.measures if data.per_image(one)]
    rows = (
        [model, *(number(float(data.values(m, model)[place]), m.digits) for m in measures)]
        for model in models
        if any(not np.isnan(data.values(m, model)[place]) for m in measures)
    )
    return table(("", *(m.title for m in measures)), rows, kind="small")


def _view(key: str, uri: str, alt: str, width: int, height: int) -> Html:
    image = tag("img", src=uri, alt=alt, width=width, height=height, draggable="false")
    window = tag(
        "div",
        image,
        class_="window",
        tabindex="0",
        role="group",
        aria_label=f"{alt}: {_KEYS}",
        data_key=key,
    )
    return tag("figure", window, tag("figcaption", key), class_="view")


def _stage(names: Sequence[str], width: int, height: int, what: str) -> Html:
    """The slider; scripts put the two chosen views into it, without them it stays hidden."""
    left, right = (names[1], names[2]) if len(names) > 2 else (names[1], names[0])
    below = tag("img", class_="right", alt="", width=width, height=height, draggable="false")
    above = tag("img", class_="left", alt="", width=width, height=height, draggable="false")
    window = tag(
        "div",
        below,
        tag("div", above, class_="cut"),
        tag("div", class_="divider"),
        class_="window stage",
    )
    choices = (
        _choice("left", names, left, "Left of the slider"),
        tag(
            "input",
            type="range",
            min=0,
            max=100,
            step=1,
            value=50,
            class_="slide",
            aria_label=f"Slider between two views of {what}",
        ),
        _choice("right", names, right, "Right of the slider"),
    )
    caption = tag("figcaption", *choices)
    return tag("figure", window, caption, class_="view compare", hidden=True)


def _choice(side: str, names: Sequence[str], chosen: str, label: str) -> Html:
    options = (tag("option", name, value=name, selected=name == chosen) for name in names)
    return tag("select", *options, class_=side, aria_label=label)


def _tools(what: str) -> Html:
    buttons = (
        ("out", "\N{MINUS SIGN}", f"Zoom out, {what}"),
        ("in", "+", f"Zoom in, {what}"),
        ("pixel", "1:1", f"One image pixel per screen pixel, {what}"),
        ("all", "Fit", f"Show the whole crop, {what}"),
        ("large", "Enlarge", f"Larger views, {what}"),
    )
    made = (
        tag("button", text, type="button", data_do=do, aria_label=label)
        for do, text, label in buttons
    )
    return tag("div", *made, tag("output", f"1{TIMES}"), class_="tools screen", hidden=True)
