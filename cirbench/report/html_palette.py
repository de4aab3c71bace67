"""Colours and markers of the codecs: the same in every plot and report, with dark-page versions."""

from __future__ import annotations

import math

from .. import codecs
from .html_text import Html, tag

# Okabe & Ito's colours (https://jfly.uni-koeln.de/color/), told apart with any colour vision; their
# yellow is too light for paper and is a dark red here. Markers say the same without any colour.
COLOURS = (
    "#D55E00",
    "#E69F00",
    "#0072B2",
    "#009E73",
    "#56B4E9",
    "#000000",
    "#882255",
    "#CC79A7",
)
ON_DARK = {"#0072B2": "#4A9FDC", "#000000": "#E8E8E8", "#882255": "#C4638F"}
MARKERS = "os^D<>*v"
"""As matplotlib names them: circle, square, triangles, diamond and star."""


def place(codec: str) -> int:
    """Which colour and marker a codec has: the same in every report."""
    return codecs.names().index(codec) % len(COLOURS)


def css() -> str:
    """A class per codec that sets ``color``: ``.k0`` to ``.k7``, ``.lq`` is set elsewhere."""
    light = "".join(f".k{i}{{color:{colour}}}" for i, colour in enumerate(COLOURS))
    dark = "".join(
        f".k{i}{{color:{ON_DARK[colour]}}}" for i, colour in enumerate(COLOURS) if colour in ON_DARK
    )
    return f"{light}\n@media screen and (prefers-color-scheme: dark){{{dark}}}\n"


def marker(shape: str, x: float, y: float, *, hollow: bool = False, size: float = 4) -> Html:
    """One marker around (x, y), in the current colour."""
    kind = "m hollow" if hollow else "m"
    if shape == "o":
        return tag("circle", cx=x, cy=y, r=float(size), class_=kind)
    points = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in _outline(shape))
    return tag("polygon", points=points, class_=kind)


def _outline(shape: str) -> list[tuple[float, float]]:
    if shape == "s":
        return [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]
    if shape == "*":
        turns = ((1.45 if i % 2 == 0 else 0.6, math.pi * (i / 5 - 0.5)) for i in range(10))
        return [(r * math.cos(angle), r * math.sin(angle)) for r, angle in turns]
    corners, start = {
        "D": (4, -0.5),
        "^": (3, -0.5),
        "<": (3, 1.0),
        ">": (3, 0.0),
        "v": (3, 0.5),
    }[shape]
    angles = [math.pi * (start + 2 * i / corners) for i in range(corners)]
    return [(1.25 * math.cos(angle), 1.25 * math.sin(angle)) for angle in angles]


def swatch(codec: str) -> Html:
    """The codec's marker as a small picture, for tables and legends."""
    at = place(codec)
    return tag(
        "svg",
        marker(MARKERS[at], 6.0, 6.0),
        class_=f"swatch k{at}",
        viewBox="0 0 12 12",
        aria_hidden="true",
    )
