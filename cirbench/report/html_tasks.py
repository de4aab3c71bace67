"""Per-task means as a table with bars: the gain over the LQ with its interval, or the score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..evaluation.results import LQ
from .html_chart import Scale, span, svg
from .html_data import Data, Measure, Task
from .html_palette import place, swatch
from .html_text import Html, join, number, table, tabs, tag

_WIDTH, _BAR = 260, 14


def section(data: Data) -> Html:
    """A table per measure, one shown at a time."""
    panels = [(one.title, _panel(data, one)) for one in data.measures]
    return tabs("Metric", panels, "tasks")


def _panel(data: Data, measure: Measure) -> Html:
    better = "higher" if measure.higher else "lower"
    if data.models:
        way = "right" if measure.higher else "left"
        gain = "Δ is the model's score minus that of the unrestored LQ; bars to the "
        text = f"{gain}{way} are better. Lines are bootstrap 95 % intervals over photos."
        if len(data.models) > 1:
            text += f" Bars of a task, from the top: {', '.join(data.models)}."
        scale = _delta_scale(data, measure)
    else:
        text = f"Scores of the unrestored LQ; {better} is better. Bars start at zero."
        values = [data.mean(measure, LQ, task) for task in data.tasks]
        scale = Scale(*span([0.0, *values], margin=0), 2, _WIDTH - 2)
    deltas = [name for model in data.models for name in (model, "Δ")]
    head = ("task", "kind", "images", "bpp", LQ, *deltas, "Δ" if data.models else measure.label)
    rows = [_row(data, measure, task, scale) for task in data.tasks]
    return join(
        (
            tag("p", text, class_="quiet"),
            table(head, rows, caption=f"{measure.label} by task", left=2, kind="tasks"),
        )
    )


def _row(data: Data, measure: Measure, task: Task, scale: Scale) -> list[str]:
    lq = data.mean(measure, LQ, task)
    cells: list[str] = [
        tag("span", swatch(task.codec), task.title, class_="name"),
        task.kind,
        str(len(task.index)),
        f"{task.bpp:.3f}",
        number(lq, measure.digits),
    ]
    bars: list[Html | None] = []
    for i, model in enumerate(data.models):
        mean = data.mean(measure, model, task)
        delta, *ends = data.task_delta(measure, model, task)
        kind = "better" if (delta > 0) == measure.higher else "worse"
        if not np.isfinite(delta) or delta == 0:
            kind = "same"
        cells += [
            number(mean, measure.digits),
            tag("span", number(delta, measure.digits, sign=True), class_=kind),
        ]
        bars.append(_bar(i, delta, ends, scale))
    if not data.models:
        bars.append(_bar(0, lq, [], scale))
    height = _BAR * len(bars)
    zero = scale(0.0)
    axis = tag("line", x1=zero, x2=zero, y1=0, y2=height, class_="zero")
    name = f"{task.title}: {'Δ' if data.models else measure.title}"
    kind = f"bar k{place(task.codec)}"
    return [*cells, svg([axis, join(bars)], name, (_WIDTH, height), kind)]


def _delta_scale(data: Data, measure: Measure) -> Scale:
    ends = [0.0]
    for model in data.models:
        for task in data.tasks:
            ends += data.task_delta(measure, model, task)
    return Scale(*span(ends, margin=0.03), 2, _WIDTH - 2)


def _bar(line: int, value: float, ends: Sequence[float], scale: Scale) -> Html | None:
    if not np.isfinite(value):
        return None
    low, high = sorted((scale(0.0), scale(value)))
    top = line * _BAR
    whisker = None
    if ends and all(np.isfinite(ends)):
        middle = top + _BAR / 2
        a, b = scale(ends[0]), scale(ends[1])
        path = f"M{a:.1f},{middle}H{b:.1f}M{a:.1f},{middle - 3}v6M{b:.1f},{middle - 3}v6"
        whisker = tag("path", d=path, class_="whisker")
    box = tag(
        "rect", x=low, y=top + 2, width=high - low, height=_BAR - 4, class_=f"fill f{line % 3}"
    )
    return join((box, whisker))
