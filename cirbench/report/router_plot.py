"""The picture of a router's choices. Needs matplotlib: import this module only where it is used."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .. import codecs
from ..evaluation.tables import KINDS
from ..recipe import UNSEEN
from .html_palette import COLOURS, place

_STYLE: dict[Any, Any] = {
    "axes.titlesize": 8.5,
    "figure.constrained_layout.use": True,
    "font.size": 7.5,
    "savefig.dpi": 220,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
_WIDTH, _LINE, _HEAD = 7.0, 0.17, 1.35  # inches: the figure, a task, everything but tasks
_BLUE = COLOURS[2]
_COLOURS = LinearSegmentedColormap.from_list("shares", ["#ffffff", _BLUE, "#00283f"])


@dataclass(frozen=True)
class _Line:
    """A task: its label, codec and kind, and the shares (N,) of each scale."""

    label: str
    codec: str
    kind: str
    shares: list[NDArray[Any]]


def draw(table: pa.Table) -> bytes:
    """A heat map as PNG: a line per task, grouped by codec and kind; a panel per scale.

    Args:
        table: columns of :data:`cirbench.evaluation.router_map.SCHEMA`. Sets are averaged, each
            image counting once.
    """
    lines = _lines(table)
    places = _places(lines)
    scales = len(lines[0].shares)
    prompts = len(lines[0].shares[0])
    with matplotlib.rc_context(_STYLE):
        height = _HEAD + _LINE * (places[-1] + 1)
        figure = Figure(figsize=(_WIDTH, height))
        panels = figure.subplots(1, scales, sharey=True, squeeze=False)[0]
        for scale, axes in enumerate(panels):
            for line, top in zip(lines, places, strict=True):
                _row(axes, line.shares[scale], top)
            axes.set_title(f"scale {scale}" + (f" (1/{2**scale})" if scale else " (latents)"))
            step = -(-prompts * scales // 30)
            axes.set_xticks(np.arange(0, prompts, step) + 0.5, list(range(0, prompts, step)))
            axes.xaxis.tick_top()
            axes.set_xlim(0, prompts)
            for spine in axes.spines.values():
                spine.set_visible(False)
        first = panels[0]
        first.set_ylim(places[-1] + 1, 0)
        first.set_yticks([top + 0.5 for top in places], [line.label for line in lines])
        for tick, line in zip(first.get_yticklabels(), lines, strict=True):
            tick.set_color(tuple(0.65 * part for part in to_rgb(COLOURS[place(line.codec)])))
        _explain(figure, panels, table, lines)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _row(axes: Axes, shares: NDArray[Any], top: float) -> None:
    prompts = len(shares)
    mesh = axes.pcolormesh(
        np.arange(prompts + 1), [top, top + 1], shares[None], cmap=_COLOURS, vmin=0, vmax=1
    )
    mesh.set_edgecolor("#e4e4e4")
    mesh.set_linewidth(0.4)
    if prompts > 10:
        return  # no room for numbers
    for index, share in enumerate(shares):
        axes.text(
            index + 0.5,
            top + 0.53,
            f"{100 * share:.0f}",
            ha="center",
            va="center",
            fontsize=5.5,
            color="white" if share > 0.4 else "#333333",
        )


def _explain(figure: Figure, panels: Any, table: pa.Table, lines: list[_Line]) -> None:
    even = float(np.mean([shares.mean() for line in lines for shares in line.shares]))
    images = [int(one) for one in set(table["images"].to_pylist())]
    count = f"{min(images)}" if len(set(images)) == 1 else f"{min(images)} to {max(images)}"
    sets = sorted(set(table["set"].to_pylist()))
    figure.suptitle(
        f"Prompts that {table['model'][0].as_py()}'s router chooses "
        f"({count} images of each task and set: {', '.join(sets)})",
        fontsize=8.5,
    )
    bar = figure.colorbar(
        matplotlib.cm.ScalarMappable(Normalize(0, 100), _COLOURS),
        ax=list(panels),
        location="bottom",
        fraction=0.11 / figure.get_figheight(),  # as thick in every height
        aspect=50,
        pad=0.12 / figure.get_figheight(),
    )
    bar.outline.set_visible(False)
    bar.ax.axvline(100 * even, color=COLOURS[0], linewidth=1.2)
    bar.set_label(
        f"share of tokens that chose the prompt (%); vermilion: all prompts alike, {100 * even:.0f}"
    )


def _lines(table: pa.Table) -> list[_Line]:
    """The tasks in the table's order, sets averaged by their numbers of images."""
    sums: dict[tuple[str, ...], dict[tuple[int, int], list[float]]] = {}
    for row in table.to_pylist():
        key = tuple(row[name] for name in ("codec", "variant", "kind", "task"))
        total = sums.setdefault(key, {}).setdefault((row["scale"], row["prompt"]), [0.0, 0])
        total[0] += row["share"] * row["images"]
        total[1] += row["images"]
    found = []
    order = codecs.names().index  # of several sets, the second may have tasks of its own
    for line in sorted(sums, key=lambda key: (order(key[0]), key[1], KINDS.index(key[2]))):
        (codec, variant, kind, task), cells = line, sums[line]
        scales, prompts = (1 + max(cell[axis] for cell in cells) for axis in (0, 1))
        mean = [[cells[s, p][0] / cells[s, p][1] for p in range(prompts)] for s in range(scales)]
        label = f"{task} {variant}".strip()
        label += f"  ({kind})" if kind in UNSEEN else ""
        found.append(_Line(label, codec, kind, [np.array(one) for one in mean]))
    return found


def _places(lines: list[_Line]) -> list[float]:
    """Where each line begins: gaps between codecs, smaller ones between a codec's kinds."""
    top, found = 0.0, [0.0]
    for before, after in pairwise(lines):
        gap = 0.5 if before.codec != after.codec else 0.2 if before.kind != after.kind else 0
        top += 1 + gap
        found.append(top)
    return found
