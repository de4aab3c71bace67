"""The report's picture of a router's choices."""

from __future__ import annotations

import base64

from .html_text import Html, join, tag


def section(png: bytes) -> Html:
    """``router.png`` with a sentence on how to read it."""
    words = (
        "A line per task. Each token of an image chooses some prompts at every scale; a cell is "
        "the share of tokens that chose that prompt. Lines that differ were told apart by the "
        "router, which never sees task, codec or level. The numbers are in router.parquet."
    )
    uri = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    image = tag("img", src=uri, alt="Heat map: tasks against prompts of each scale", class_="map")
    return join((tag("p", words, class_="quiet"), image))
