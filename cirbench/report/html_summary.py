"""The report's words and tables: what was found in one look, the printed tables, problems."""

from __future__ import annotations

import numpy as np

from ..evaluation.results import BEST, LQ, SECOND, Cell, Table
from .html_data import Data, Measure, Task
from .html_text import Html, join, number, table, tag

_MOST_PROBLEMS = 200


def facts(data: Data) -> Html:
    """Counts: images, photos, tasks, codecs, models."""
    photos = set(zip(data.rows["set"], data.rows["hq_path"], strict=True))
    sets = ", ".join(sorted(set(data.rows["set"])))
    entries = [
        (f"{len(data):,}", "LQ images"),
        (f"{len(photos):,}", f"photos ({sets})"),
        (str(len(data.tasks)), "tasks"),
        (str(len(data.codecs)), "codecs"),
    ]
    cards = (tag("div", tag("dt", name), tag("dd", value)) for value, name in entries)
    return tag("dl", *cards, class_="facts")


def overall(data: Data) -> Html:
    """A line per measure: means over everything, gains, the tasks at both ends."""
    if not data.models:
        head = ("metric", "better", "LQ mean", "lowest task", "highest task")
        rows = [_lq_line(data, one) for one in data.measures]
        caption = "Means over photos of the unrestored LQ"
        return table(head, rows, caption=caption, left=2)
    numbers = (LQ, "mean", "Δ", "95 % of Δ", "better than LQ", "largest gain", "smallest gain")
    rows = [_line(data, one, model) for one in data.measures for model in data.models]
    caption = "Means over photos; Δ is model minus LQ, with its bootstrap 95 % interval"
    return table(("metric", "better", "model", *numbers), rows, caption=caption, left=3)


def _way(measure: Measure) -> str:
    return "higher" if measure.higher else "lower"


def _lq_line(data: Data, measure: Measure) -> list[str]:
    means = [(data.mean(measure, LQ, task), task) for task in data.tasks]
    means = sorted((pair for pair in means if np.isfinite(pair[0])), key=lambda pair: pair[0])
    ends = [_end(measure, pair, sign=False) for pair in (means[:1] + means[-1:])]
    mean = number(data.mean_of_all(measure, LQ), measure.digits)
    return [measure.label, _way(measure), mean, *(ends or ["", ""])]


def _line(data: Data, measure: Measure, model: str) -> list[str]:
    lq, mean = (data.mean_of_all(measure, name) for name in (LQ, model))
    found = data.gains(measure, model)
    found = found[np.isfinite(found)]
    delta, low, high = data.delta(measure, model)
    if not data.per_image(measure):
        delta = mean - lq
    ends = f"{number(low, measure.digits, True)} … {number(high, measure.digits, True)}"
    tasks = [(data.task_delta(measure, model, task)[0], task) for task in data.tasks]
    tasks = sorted(
        (pair for pair in tasks if np.isfinite(pair[0])),
        key=lambda pair: pair[0] if measure.higher else -pair[0],
    )
    kind = "same" if not delta else "better" if (delta > 0) == measure.higher else "worse"
    return [
        measure.label,
        _way(measure),
        model,
        number(lq, measure.digits),
        number(mean, measure.digits),
        tag("strong", number(delta, measure.digits, True), class_=kind),
        ends if np.isfinite(low) else "",
        f"{np.mean(found > 0):.0%}" if len(found) else "",
        _end(measure, tasks[-1]) if tasks else "",
        _end(measure, tasks[0]) if tasks else "",
    ]


def _end(measure: Measure, pair: tuple[float, Task], sign: bool = True) -> str:
    return f"{pair[1].title} {number(pair[0], measure.digits, sign)}"


def tables(data: Data) -> Html:
    """The tables the evaluation printed, with the intervals in the cells' tooltips."""
    found = data.results.tables
    if not found:
        return tag("p", "This evaluation made no tables.", class_="quiet")
    marks = {cell.mark for one in found for row in one.rows for cell in row}
    words = ["Best: bold."] * (BEST in marks) + ["Second best: underlined."] * (SECOND in marks)
    legend = tag("p", " ".join(words), class_="quiet") if words else None
    return join([legend, *map(_table, found)])


def _table(one: Table) -> Html:
    groups: list[list[str]] = []
    for column in one.columns:
        if groups and groups[-1][0] == column.group:
            groups[-1].append(column.title)
        else:
            groups.append([column.group, column.title])
    upper = None
    if any(column.group for column in one.columns):
        cells = (
            tag("th", g[0], colspan=len(g) - 1, scope="colgroup", class_="group") for g in groups
        )
        upper = tag("tr", *cells)
    lower = tag(
        "tr",
        *(
            tag("th", column.title, scope="col", class_=None if i < one.left else "n")
            for i, column in enumerate(one.columns)
        ),
    )
    rows = (tag("tr", *(_cell(c, i < one.left) for i, c in enumerate(r))) for r in one.rows)
    content = tag(
        "table",
        tag("caption", one.title),
        tag("thead", upper, lower),
        tag("tbody", *rows),
    )
    notes = tag("ul", *(tag("li", note) for note in one.notes), class_="notes")
    frame = tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=one.title)
    return join((frame, notes if one.notes else None))


def _cell(cell: Cell, left: bool) -> Html:
    if left:
        return tag("td", cell.text)
    title = None
    if cell.low is not None and cell.high is not None:
        title = f"95 % interval {cell.low:.4g} to {cell.high:.4g}, {cell.images} images"
    return tag("td", cell.text, class_=f"n {cell.mark}".strip(), title=title)


def problems(found: list[str]) -> Html | None:
    """What went wrong, open at the top of the page; nothing when all went well."""
    if not found:
        return None
    lines = [tag("li", one) for one in found[:_MOST_PROBLEMS]]
    if len(found) > _MOST_PROBLEMS:
        lines.append(tag("li", f"… and {len(found) - _MOST_PROBLEMS:,} more"))
    count = "1 problem" if len(found) == 1 else f"{len(found):,} problems"
    return tag(
        "details",
        tag("summary", count),
        tag("ul", *lines),
        class_="problems",
        id="problems",
        open=True,
    )
