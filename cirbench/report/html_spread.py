"""How single images fare: the distribution of model minus LQ (or LQ scores), a line per codec."""

from __future__ import annotations

import numpy as np

from .. import codecs
from ..evaluation.results import LQ
from .html_chart import Scale, plain, point, span, svg
from .html_data import Array, Data, Measure
from .html_palette import place
from .html_text import Html, join, number, tabs, tag

_WIDTH, _LEFT, _RIGHT = 760, 66, 150
_LINE, _BASE = 62, 52
_MOST_DOTS = 150


def section(data: Data) -> Html:
    """A chart per measure (and per model), one measure shown at a time."""
    measures = [one for one in data.measures if data.per_image(one)]
    if not measures:
        return tag("p", "No metric of this evaluation scores single images.", class_="quiet")
    panels = [(one.title, _panel(data, one)) for one in measures]
    return tabs("Metric", panels, "spread")


def _panel(data: Data, measure: Measure) -> Html:
    better = ("to the right", "to the left")[not measure.higher]
    if not data.models:
        text = f"LQ scores, a mark per image and task: better {better}. Dark lines are medians."
        ends = span(data.values(measure, LQ), margin=0.04)
        return join((tag("p", text, class_="quiet"), _chart(data, measure, None, ends)))
    text = f"Model minus LQ, a mark per image and task: better {better}. Dark lines are medians."
    deltas = [data.deltas(measure, model) for model in data.models]
    ends = span(np.concatenate([*deltas, [0.0]]), margin=0.04)
    charts = (
        tag("figure", tag("figcaption", model), _chart(data, measure, model, ends))
        for model in data.models
    )
    return join((tag("p", text, class_="quiet"), *charts))


def _chart(data: Data, measure: Measure, model: str | None, ends: tuple[float, float]) -> Html:
    values = data.deltas(measure, model) if model else data.values(measure, LQ)
    across = Scale(*ends, _LEFT, _WIDTH - _RIGHT)
    height = _LINE * len(data.codecs) + 34
    bottom = height - 30
    parts = []
    for value in across.ticks():
        at = across(value)
        kind = "zero" if model and abs(value) < 1e-12 else "grid"
        parts.append(tag("line", x1=at, x2=at, y1=4, y2=bottom, class_=kind))
        label = plain(value)
        parts.append(tag("text", label, x=at, y=bottom + 15, text_anchor="middle", class_="tick"))
    name = f"Δ {measure.label}" if model else measure.label
    end = _WIDTH - _RIGHT
    parts.append(tag("text", name, x=end, y=bottom + 28, text_anchor="end", class_="axis"))
    for i, codec in enumerate(data.codecs):
        index = data.of(codec)
        index = index[np.isfinite(values[index])]
        parts.append(_line(data, measure, codec, index, values, across, i * _LINE, model))
    return svg(parts, f"Distribution of {name} per codec", (_WIDTH, height), "chart wide")


def _line(
    data: Data,
    measure: Measure,
    codec: str,
    index: Array,
    values: Array,
    across: Scale,
    top: float,
    model: str | None,
) -> Html:
    base = top + _BASE
    title = codecs.get(codec).title
    parts = [
        tag("text", title, x=0, y=base, class_="label"),
        tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=base + 2, y2=base + 2, class_="grid"),
    ]
    mine = values[index]
    if len(mine):
        parts.append(_marks(data, measure, index, mine, across, base))
        middle = float(np.median(mine))
        at = across(middle)
        parts.append(tag("line", x1=at, x2=at, y1=base - 40, y2=base + 2, class_="median"))
        note = f"median {number(middle, measure.digits, sign=bool(model))}"
        side = _WIDTH - _RIGHT + 10
        parts.append(tag("text", note, x=side, y=base - 14, class_="note"))
        if model:
            share = float(np.mean(mine > 0 if measure.higher else mine < 0))
            text = f"{share:.0%} of {len(mine)} better"
        else:
            text = f"{len(mine)} images"
        parts.append(tag("text", text, x=side, y=base, class_="note"))
    return tag("g", *parts, class_=f"k{place(codec)}")


def _marks(
    data: Data, measure: Measure, index: Array, values: Array, across: Scale, base: float
) -> Html:
    """Dots in columns while they can be told apart, bars of a histogram after that."""
    bins = 75 if len(values) <= _MOST_DOTS else 60
    edges = np.linspace(across.low, across.high, bins + 1)
    column = np.clip(np.digitize(values, edges) - 1, 0, bins - 1)
    counts = np.bincount(column, minlength=bins)
    width = (across.stop - across.start) / bins
    highest = int(counts.max())
    parts = []
    if len(values) > _MOST_DOTS:
        for i in np.flatnonzero(counts):
            high = 40 * counts[i] / highest
            tip = f"{edges[i]:.{measure.digits}f} to {edges[i + 1]:.{measure.digits}f}"
            bar = tag(
                "rect",
                x=across.start + float(i) * width,
                y=float(base + 2 - high),
                width=width - 0.6,
                height=float(high),
                class_="fill",
            )
            title = tag("title", f"{tip}: {counts[i]} images")
            parts.append(tag("g", title, bar, class_="pt"))
        return join(parts)
    step = min(7.2, 40 / highest)
    seen = [0] * bins
    for place_, value in sorted(zip(index.tolist(), values.tolist(), strict=True)):
        i = int(np.clip(np.digitize(value, edges) - 1, 0, bins - 1))
        y = base - 2 - step * seen[i]
        seen[i] += 1
        name = f"{data.rows['hq_path'][place_]} · {data.rows['task'][place_]}"
        tip = f"{name}\n{number(value, measure.digits, sign=True)} {measure.unit}".rstrip()
        parts.append(point("o", across.start + (i + 0.5) * width, float(y), tip, radius=3.2))
    return join(parts)
