"""Small texts beside the points of a plot, where they hide as little as possible."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

_SIZE = 6.5  # font size; all lengths here are in typographic points
_CLEAR = 4.5  # from the middle of a point to a text
_PASSES = 4
_FAR = (1.0, 1.6, 2.2)

Floats = NDArray[np.float64]


class Point(NamedTuple):
    """A point in data coordinates, its text and the text's colour."""

    x: float
    y: float
    text: str
    ink: tuple[float, float, float]


def place(axes: Axes, points: Sequence[Point]) -> None:
    """Write each point's text near it: off lines, points, other texts, and inside the axes.

    Each text in turn takes its cheapest place, a few times over, so that early ones can make way
    for late ones. The figure must have its layout.
    """
    if not points:
        return
    scale = 72 / axes.figure.dpi
    at = axes.transData.transform([(point.x, point.y) for point in points]) * scale
    lines = _along_lines(axes) * scale
    low, high = np.asarray(axes.bbox.extents).reshape(2, 2) * scale
    notes = [
        axes.annotate(
            point.text,
            (point.x, point.y),
            (0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=_SIZE,
            color=point.ink,
            zorder=2.5,  # over the curves, under the markers
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.3},
        )
        for point in points
    ]
    extents = [note.get_window_extent() for note in notes]
    halves = [np.array((box.width, box.height)) * scale / 2 for box in extents]
    options = [_options(half) for half in halves]
    fixed = [
        np.array([_cost(at[i] + offset, halves[i], i, at, lines, low, high) for offset in some])
        + np.arange(len(some))
        for i, some in enumerate(options)
    ]
    taken = [some[int(cost.argmin())] for some, cost in zip(options, fixed, strict=True)]
    for _ in range(_PASSES):
        for i, some in enumerate(options):
            others = [j for j in range(len(points)) if j != i]
            reach = np.array([halves[i] + halves[j] for j in others]).reshape(-1, 2)
            centres = np.array([at[j] + taken[j] for j in others]).reshape(-1, 2)
            apart = np.abs((at[i] + some)[:, None] - centres[None]) - reach
            clashes = (apart < 0.5).all(axis=2).sum(axis=1)
            taken[i] = some[int((fixed[i] + 200.0 * clashes).argmin())]
    for note, offset in zip(notes, taken, strict=True):
        note.xyann = (float(offset[0]), float(offset[1]))


def _options(half: Floats) -> Floats:
    """Offsets of a text's middle from its point, the best first: all around it, then further."""
    angles = np.deg2rad((-45, 135, 0, 180, 90, -90, 45, -135, -25, 155, 25, -155, 65, -65))
    directions = np.stack((np.cos(angles), np.sin(angles)), axis=1)
    rings = []
    for far in _FAR:
        # Out to where the text's box is as far away as it should be, in that direction.
        steps = np.abs(directions) * half + _CLEAR * far
        rings.append(directions / np.abs(directions).max(axis=1, keepdims=True) * steps)
    return np.concatenate(rings)


def _cost(
    centre: Floats, half: Floats, own: int, at: Floats, lines: Floats, low: Floats, high: Floats
) -> float:
    """What a text's box hides, and how much nearer it is to another point than to its own."""
    crossed = (np.abs(lines - centre) < half).all(axis=1).sum()
    distances = np.linalg.norm(np.maximum(np.abs(at - centre) - half, 0), axis=1)
    others = np.delete(distances, own)
    hidden = (others < _CLEAR - 1).sum()
    nearer = (others < 1.3 * distances[own]).sum()
    outside = np.maximum(low - centre + half, 0).sum() + np.maximum(centre + half - high, 0).sum()
    return float(4 * crossed + 80 * hidden + 30 * nearer + 10 * outside)


def _along_lines(axes: Axes) -> Floats:
    """Points a pixel or two apart along every line of the axes, in pixels."""
    found = [np.empty((0, 2))]
    for line in axes.get_lines():
        corners = axes.transData.transform(np.asarray(line.get_xydata(), dtype=np.float64))
        corners = corners[np.isfinite(corners).all(axis=1)]
        for start, end in pairwise(corners):
            found.append(np.linspace(start, end, 2 + int(np.hypot(*(end - start)) // 2)))
    return np.concatenate(found)
