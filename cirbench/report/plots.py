"""The plots of ``cirbench stats``. Needs matplotlib: import this module only where it is used."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from .. import codecs
from ..recipe import UNSEEN
from . import labels
from .html_palette import COLOURS, MARKERS
from .stats import megapixels

_DASHES = ("-", "--", ":", "-.")
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "figure.constrained_layout.use": True,
    "font.size": 8,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.columnspacing": 1.4,
    "legend.fontsize": 8,
    "legend.handlelength": 2.2,
    "legend.handletextpad": 0.5,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 5.5,
    "savefig.dpi": 300,
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # also one with dollars in it
    "svg.hashsalt": "cirbench",  # equal data, equal files
    "xtick.color": "#333333",
    "ytick.color": "#333333",
}
_WIDTH = 7.0  # inches: the text width of a two-column page


@dataclass(frozen=True)
class Series:
    """The tasks of one codec and variant, and how they are drawn.

    Attributes:
        codec: its name.
        variant: ``""``, or what differs from the codec's defaults.
        rows: entries of ``summary.rows``, by rising bpp.
        order: its number among its codec's variants, from 0; chooses the dashes.
    """

    codec: str
    variant: str
    rows: Sequence[Mapping[str, Any]]
    order: int

    @property
    def title(self) -> str:
        """How the legend calls it."""
        return f"{codecs.get(self.codec).title} {self.variant}".strip()

    @property
    def style(self) -> dict[str, Any]:
        """Colour and marker of the codec, the same in every plot of every data set."""
        place = codecs.names().index(self.codec)
        return {
            "color": COLOURS[place % len(COLOURS)],
            "marker": MARKERS[place % len(MARKERS)],
            "linestyle": _DASHES[self.order % len(_DASHES)],
        }

    @property
    def ink(self) -> tuple[float, float, float]:
        """The codec's colour, dark enough for small text."""
        red, green, blue = (0.65 * part for part in to_rgb(self.style["color"]))
        return red, green, blue


def series(means: Sequence[Mapping[str, Any]]) -> list[Series]:
    """``summary.rows`` by codec and variant, in their order."""
    found: list[Series] = []
    for (codec, variant), group in groupby(means, lambda row: (row["codec"], row["variant"])):
        order = sum(one.codec == codec for one in found)
        rows = sorted(group, key=lambda row: float(row["bpp"]))
        found.append(Series(codec, variant, rows, order))
    return found


def files(
    means: Sequence[Mapping[str, Any]], table: pa.Table, file_format: str
) -> Iterator[tuple[str, bytes]]:
    """Name and contents of every plot.

    Args:
        means: what ``summary.rows`` gives.
        table: the data set's usable rows with their seconds, as ``timed.table`` gives them.
        file_format: ``"png"`` or ``"svg"``.
    """
    found = series(means)
    with matplotlib.rc_context():  # the user's own settings neither show nor change
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield "rate_distortion", _file(rate_distortion(found), file_format)
        yield "bpp", _file(histograms(found, table), file_format)
        if any(row["encode_seconds"] is not None for row in means):
            yield "time", _file(times(found, table), file_format)


def _file(figure: Figure, file_format: str) -> bytes:
    buffer = io.BytesIO()
    metadata = {"Date": None} if file_format == "svg" else {}
    figure.savefig(buffer, format=file_format, metadata=metadata)
    return buffer.getvalue()


def rate_distortion(found: Sequence[Series]) -> Figure:
    """Mean bpp (log) against mean RGB and Y PSNR: a curve per codec, unseen tasks open."""
    figure = Figure(figsize=(_WIDTH, 3.9))
    panels = figure.subplots(1, 2, sharex=True)
    for axes, column, name in zip(panels, ("psnr_rgb", "psnr_y"), ("RGB", "Y"), strict=True):
        axes.set_xscale("log")
        axes.set_xlabel("bits per pixel")
        axes.set_ylabel(f"{name} PSNR (dB)")
        for one in found:
            bpp = [row["bpp"] for row in one.rows]
            axes.plot(bpp, [_psnr(row, column) for row in one.rows], **one.style | {"marker": ""})
            for row in one.rows:
                axes.plot(row["bpp"], _psnr(row, column), **one.style, **_face(row, one), zorder=3)
        axes.margins(0.08)
        _plain_log(axes)
    _legend(figure, found)
    figure.draw_without_rendering()  # the layout: labels are placed in its pixels
    for axes, column in zip(panels, ("psnr_rgb", "psnr_y"), strict=True):
        points = [
            labels.Point(row["bpp"], _psnr(row, column), row["level"], one.ink)
            for one in found
            for row in one.rows
            if np.isfinite(_psnr(row, column))
        ]
        labels.place(axes, points)
    return figure


def _psnr(row: Mapping[str, Any], column: str) -> float:
    """NaN, which is not drawn, where every LQ equals its HQ."""
    return np.nan if row[column] is None else float(row[column])


def histograms(found: Sequence[Series], table: pa.Table) -> Figure:
    """Images over bpp (log): a histogram per task, all on one scale, unseen tasks open."""
    low, high = (float(edge.as_py()) for edge in pc.min_max(table["bpp"]).values())
    groups = [_of(table, row)["bpp"].to_numpy() for one in found for row in one.rows]
    bins = int(np.clip(4 * np.sqrt(max(map(len, groups))), 16, 80))
    edges = np.geomspace(low / 1.02, high * 1.02, bins + 1)
    shares = [np.histogram(group, edges)[0] / len(group) for group in groups]
    highest = max(float(share.max()) for share in shares)
    figure = Figure()
    axes = figure.subplots()
    axes.set_xscale("log")
    lines = list(_lines(found))
    for (place, row, one), group, share in zip(lines, groups, shares, strict=True):
        colour, base = one.style["color"], place + 0.4
        used = slice(np.flatnonzero(share)[0], np.flatnonzero(share)[-1] + 1)
        tops, span = base - 0.85 * share[used] / highest, edges[used.start : used.stop + 1]
        fill = to_rgba("white" if row["kind"] in UNSEEN else colour, 0.55)
        axes.stairs(tops, span, baseline=base, fill=True, facecolor=fill)
        axes.stairs(tops, span, baseline=base, color=colour, linewidth=0.9)
        axes.plot(span[[0, -1]], [base, base], color=colour, linewidth=0.9)
        axes.plot([np.median(group)] * 2, [base - 0.3, base], color=one.ink, linewidth=1.4)
    _task_axis(figure, axes, lines, per_task=0.27)
    axes.set_xlabel(
        f"bits per pixel: share of images (highest bar {highest:.0%}); short dark line: median"
    )
    _plain_log(axes)
    _legend(figure, found, codec_names=False)
    return figure


def times(found: Sequence[Series], table: pa.Table) -> Figure:
    """Encode seconds per megapixel (log) of every task: the median and the middle 80 %."""
    figure = Figure()
    axes = figure.subplots()
    axes.set_xscale("log")
    lines = list(_lines(found))
    for place, row, one in lines:
        rows = _of(table, row)
        seconds = pc.divide(rows["encode_seconds"], megapixels(rows)).drop_null().to_numpy()
        if not len(seconds):
            continue
        low, middle, high = np.quantile(seconds, (0.1, 0.5, 0.9))
        plain = one.style | {"linestyle": "-"}
        axes.plot([low, high], [place, place], **plain | {"marker": ""}, linewidth=2.2)
        axes.plot(middle, place, **plain, **_face(row, one))
    _task_axis(figure, axes, lines, per_task=0.19)
    axes.set_xlabel("encode time (seconds per megapixel): median, 10th to 90th percentile")
    _plain_log(axes)
    _legend(figure, found, codec_names=False)
    return figure


def _lines(found: Sequence[Series]) -> Iterator[tuple[float, Mapping[str, Any], Series]]:
    """Where each task has its line on an axis of tasks: one apart, with a gap between codecs."""
    place = 0.0
    for one in found:
        for row in one.rows:
            yield place, row, one
            place += 1
        place += 0.5


def _task_axis(
    figure: Figure,
    axes: Axes,
    lines: Sequence[tuple[float, Mapping[str, Any], Series]],
    per_task: float,
) -> None:
    """Name every line; make the figure as high as they need (``per_task`` inches each)."""
    names = [f"{one.codec}-{row['level']} {one.variant}".strip() for _, row, one in lines]
    axes.set_yticks([place for place, _, _ in lines], names)
    for tick, (_, _, one) in zip(axes.get_yticklabels(), lines, strict=True):
        tick.set_color(one.ink)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    last = lines[-1][0]
    axes.set_ylim(last + 0.7, -0.7)
    figure.set_size_inches(_WIDTH, 0.8 + per_task * (last + 1.4))


def _of(table: pa.Table, row: Mapping[str, Any]) -> pa.Table:
    """The rows behind one entry of ``summary.rows``."""
    for key in ("codec", "level", "variant", "kind"):
        table = table.filter(pc.equal(table[key], row[key]))
    return table


def _face(row: Mapping[str, Any], one: Series) -> dict[str, Any]:
    open_ = row["kind"] in UNSEEN
    return {"markerfacecolor": "white" if open_ else one.style["color"], "markeredgewidth": 1.1}


def _legend(figure: Figure, found: Sequence[Series], codec_names: bool = True) -> None:
    """Codecs, and what open markers mean where there are any; nothing where nothing is to say."""
    handles = [Line2D([], [], label=one.title, **one.style) for one in found if codec_names]
    kinds = {row["kind"] for one in found for row in one.rows}
    unseen = [kind for kind in UNSEEN if kind in kinds]
    if unseen and len(kinds) > len(unseen):
        grey: dict[str, Any] = {"color": "#666666", "marker": "o", "linestyle": ""}
        handles.append(Line2D([], [], label="seen", **grey))
        text = f"unseen ({', '.join(unseen)})"
        handles.append(Line2D([], [], label=text, **grey, markerfacecolor="white"))
    for columns in range(len(handles), 0, -1):  # the widest that fits, read line by line
        ordered = [handle for column in range(columns) for handle in handles[column::columns]]
        legend = figure.legend(handles=ordered, loc="outside upper center", ncols=columns)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()


def _plain_log(axes: Axes) -> None:
    """Ticks of a log axis as plain numbers, enough of them on a short axis."""
    low, high = axes.get_xlim()
    steps = [1.0, 2.0, 5.0] if high / low > 8 else [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0]
    steps = [1.0] if high / low > 2000 else steps
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
