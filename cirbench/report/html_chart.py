"""Line charts as inline SVG: scales, ticks, points that say their values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .html_palette import marker
from .html_text import Html, join, tag


@dataclass(frozen=True)
class Point:
    """A point, what it says when pointed at, and whether its marker is hollow."""

    x: float
    y: float
    tip: str
    hollow: bool = False


@dataclass(frozen=True)
class Line:
    """A curve: its points by rising x, CSS classes (colour, dashes) and marker."""

    points: Sequence[Point]
    kind: str
    marker: str


@dataclass(frozen=True)
class Scale:
    """Data to coordinates, linear or logarithmic, with its ticks."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The coordinate of a value."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        part = ((math.log(value) if self.log else value) - low) / (high - low)
        return self.start + part * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Round values inside the scale."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for steps in ((1, 2, 5), (1, 3), (1,)):
                found = [s * 10.0**p for p in powers for s in steps]
                found = [value for value in found if self.low <= value <= self.high]
                if len(found) <= 6:
                    break
            return found[:: len(found) // 7 + 1] if len(found) > 1 else [self.low, self.high]
        step = nice((self.high - self.low) / 4)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def nice(size: float) -> float:
    """The nearest of 1, 2, 2.5, 5 and 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(size))
    return min((1, 2, 2.5, 5, 10), key=lambda step: abs(step * power - size)) * power


def span(values: Iterable[float], margin: float = 0.06, log: bool = False) -> tuple[float, float]:
    """Lowest and highest value with a margin; never empty."""
    found = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    if not found:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = min(found), max(found)
    if log:
        low, high = (low, high) if high > 1.2 * low else (low / 1.2, high * 1.2)
        return low / (high / low) ** margin, high * (high / low) ** margin
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    return low - margin * (high - low), high + margin * (high - low)


def plain(value: float) -> str:
    """A tick's label."""
    return f"{value:.6g}".replace("-", "\N{MINUS SIGN}")


def lines(
    found: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x: tuple[float, float],
    y: tuple[float, float],
    size: tuple[int, int] = (340, 240),
) -> Html:
    """Curves over a logarithmic x axis.

    Args:
        found: the curves; the last are drawn on top.
        title: what screen readers call the chart.
        x_label, y_label: the axes' names.
        x, y: the axes' ends.
        size: width and height of the drawing.
    """
    width, height = size
    left, right, top, bottom = 46, 10, 22, 40
    across = Scale(*x, left, width - right, log=True)
    down = Scale(*y, height - bottom, top)
    parts: list[Html] = []
    for value in down.ticks():
        at = down(value)
        parts.append(tag("line", x1=left, x2=width - right, y1=at, y2=at, class_="grid"))
        parts.append(
            tag("text", plain(value), x=left - 7, y=at + 3.5, text_anchor="end", class_="tick")
        )
    for value in across.ticks():
        at = across(value)
        parts.append(tag("line", x1=at, x2=at, y1=top, y2=height - bottom, class_="grid"))
        parts.append(
            tag(
                "text",
                plain(value),
                x=at,
                y=height - bottom + 15,
                text_anchor="middle",
                class_="tick",
            )
        )
    parts.append(tag("text", y_label, x=0, y=11, class_="axis"))
    parts.append(
        tag("text", x_label, x=width - right, y=height - 6, text_anchor="end", class_="axis")
    )
    parts += [_curve(one, across, down) for one in found]
    return svg(parts, title, size)


def _curve(one: Line, across: Scale, down: Scale) -> Html:
    places = [(across(p.x), down(p.y), p) for p in one.points if math.isfinite(p.y) and p.x > 0]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
    drawn = [point(one.marker, x, y, p.tip, hollow=p.hollow) for x, y, p in places]
    return tag("g", tag("polyline", points=path, class_="curve"), *drawn, class_=one.kind)


def point(
    shape: str, x: float, y: float, tip: str, *, hollow: bool = False, radius: float = 4
) -> Html:
    """A marker that says ``tip`` when pointed at; a lone one has a wide target around it."""
    return tag(
        "g",
        tag("title", tip),
        tag("circle", cx=x, cy=y, r=9, class_="target") if radius >= 4 else None,
        marker(shape, x, y, hollow=hollow, size=radius),
        class_="pt",
    )


def svg(parts: Iterable[str], title: str, size: tuple[float, float], kind: str = "chart") -> Html:
    """A drawing of ``size`` units with a title for screen readers."""
    return tag(
        "svg",
        tag("title", title),
        join(parts),
        viewBox=f"0 0 {size[0]:g} {size[1]:g}",
        role="img",
        aria_label=title,
        class_=kind,
    )
