"""Rate-distortion and rate-perception curves: a chart per codec, or all codecs in one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from .. import codecs
from ..evaluation.results import LQ
from .html_chart import Line, Point, lines, span
from .html_data import Data, Measure, Task, perceptual
from .html_palette import MARKERS, marker, place
from .html_text import Html, join, number, table, tabs, tag

_WIDE = (680, 400)


def section(data: Data) -> Html:
    """Both kinds of curves, a tab per measure."""
    blocks = []
    for title, name, perception in (
        ("Rate-distortion", "distortion", False),
        ("Rate-perception", "perception", True),
    ):
        measures = [one for one in data.measures if one.perception == perception]
        blocks.append(tag("h3", title))
        if measures:
            panels = [(one.title, _panel(data, one)) for one in measures]
            blocks.append(tabs(f"{title}: metric", panels, f"curves-{name}"))
        else:
            text = f"No {name} metric was scored in this evaluation. {_absent(data, perception)}"
            blocks.append(tag("p", text.strip(), class_="quiet"))
    return join(blocks)


def _absent(data: Data, perception: bool) -> str:
    """Why metrics that were asked for could not run."""
    asked = data.results.metrics.values()
    why = [one.problem() for one in asked if perceptual(one) == perception]
    return " ".join(f"{text.rstrip('.')}." for text in why if text)


def _panel(data: Data, measure: Measure) -> Html:
    tasks = data.tasks
    x = span((task.bpp for task in tasks), log=True)
    models = (LQ, *data.models)
    y = span(data.mean(measure, model, task) for model in models for task in tasks)
    words = "higher is better" if measure.higher else "lower is better"
    axis = f"{measure.label}, {words}"
    if not data.models:
        charts = [_chart(data, measure, "LQ of all codecs", tasks, x, y, axis, _WIDE)]
        legend = _codec_legend(data)
    else:
        charts = [
            tag(
                "figure",
                tag("figcaption", codecs.get(codec).title),
                _chart(data, measure, codecs.get(codec).title, list(mine), x, y, axis),
            )
            for codec, mine in groupby(tasks, lambda task: task.codec)
        ]
        legend = _model_legend(data)
    values = tag("details", tag("summary", "Values"), _values(data, measure), class_="values")
    kind = "charts" if data.models else "charts one"
    return join((legend, tag("div", *charts, class_=kind), values))


def _chart(
    data: Data,
    measure: Measure,
    name: str,
    tasks: Sequence[Task],
    x: tuple[float, float],
    y: tuple[float, float],
    axis: str,
    size: tuple[int, int] = (340, 240),
) -> Html:
    return lines(
        list(_lines(data, measure, tasks)),
        title=f"{measure.title} against bits per pixel: {name}",
        x_label="bits per pixel",
        y_label=axis,
        x=x,
        y=y,
        size=size,
    )


def _lines(data: Data, measure: Measure, tasks: Sequence[Task]) -> Iterator[Line]:
    for (codec, _), group in groupby(tasks, lambda task: (task.codec, task.variant)):
        mine, at = list(group), place(codec)
        for number_, model in enumerate((LQ, *data.models)):
            dashes = "base" if model == LQ and data.models else f"k{at} d{max(0, number_ - 1) % 3}"
            points = [
                Point(task.bpp, value, _tip(measure, model, task, value), task.unseen)
                for task in mine
                for value in (data.mean(measure, model, task),)
            ]
            yield Line(points, dashes, MARKERS[at])


def _tip(measure: Measure, model: str, task: Task, value: float) -> str:
    score = f"{measure.title} {number(value, measure.digits)} {measure.unit}".rstrip()
    return f"{task.title} · {model}\n{score}\n{task.bpp:.3f} bpp · {len(task.index)} images"


def _key(kind: str, shape: str, name: str) -> Html:
    drawing = tag(
        "svg",
        tag("g", tag("polyline", points="0,7 26,7", class_="curve"), marker(shape, 13.0, 7.0)),
        viewBox="0 0 26 14",
        class_=f"key {kind}",
        aria_hidden="true",
    )
    return tag("li", drawing, name)


def _codec_legend(data: Data) -> Html:
    keys = [
        _key(f"k{place(name)}", MARKERS[place(name)], codecs.get(name).title)
        for name in data.codecs
    ]
    return tag("ul", *keys, _hollow(data), class_="legend")


def _model_legend(data: Data) -> Html:
    keys = [_key("base", "o", "LQ (unrestored)")]
    keys += [_key(f"strong d{i % 3}", "o", name) for i, name in enumerate(data.models)]
    return tag("ul", *keys, _hollow(data), class_="legend")


def _hollow(data: Data) -> Html | None:
    if not any(task.unseen for task in data.tasks):
        return None
    return tag("li", "hollow markers: tasks unseen in training", class_="quiet")


def _values(data: Data, measure: Measure) -> Html:
    models = (LQ, *data.models)
    rows = (
        [
            task.title,
            f"{task.bpp:.4f}",
            *(number(data.mean(measure, model, task), measure.digits) for model in models),
        ]
        for task in data.tasks
    )
    caption = f"{measure.label}: means over images"
    return table(("task", "bpp", *models), rows, caption=caption)
