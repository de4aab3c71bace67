"""``report.html``: an evaluation as one file that opens anywhere, without network."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from string import Template

from ..errors import CirbenchError
from ..evaluation.results import Results
from . import (
    html_curves,
    html_origin,
    html_palette,
    html_router,
    html_spread,
    html_summary,
    html_tasks,
    html_views,
)
from .drawing import save
from .html_data import Data, Measure
from .html_text import Html, join, tag

PICTURE_BUDGET = 12_000_000
"""Bytes of the file that pictures may take."""


def write(results: Results, path: str | Path, picture_budget: int = PICTURE_BUDGET) -> Path:
    """Write the report of an evaluation: one HTML file with everything in it.

    Summary, printed tables, curves, per-task gains, distributions, pictures, provenance and
    problems. Equal results give equal bytes.

    Args:
        results: a finished evaluation.
        path: the file to write; its folder is made.
        picture_budget: bytes that pictures may take; with less, crops get smaller, then fewer.

    Returns:
        The file that was written.

    Raises CirbenchError when there is no score to report or the file cannot be written.
    """
    return save(Path(path), page(results, picture_budget).encode())


def page(results: Results, picture_budget: int = PICTURE_BUDGET) -> str:
    """The file's text. Raises CirbenchError when there is no score to report."""
    data = Data(results)
    if not data.measures or not len(data):
        raise CirbenchError(
            f"there is nothing to report: no image of {results.manifest.folder} has a score"
        )
    parts = [
        ("summary", "Summary", join((html_summary.facts(data), html_summary.overall(data)))),
        ("tables", "Tables", html_summary.tables(data)),
        ("curves", "Curves", html_curves.section(data)),
        ("tasks", "Tasks", html_tasks.section(data)),
        ("spread", "Images", html_spread.section(data)),
        ("pictures", "Pictures", _pictures(data, picture_budget)),
        ("provenance", "Provenance", html_origin.section(data)),
    ]
    if results.router:
        parts.insert(-1, ("router", "Router", html_router.section(results.router)))
    style = html_palette.css() + _file("style.css")
    script = _file("script.js")
    sources = f"img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    policy = f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'"
    subject = ", ".join(data.models) if data.models else "unrestored LQ"
    links = join(tag("a", title, href=f"#{name}") for name, title, _ in parts)
    return Template(_file("page.html")).substitute(
        policy=tag("meta", http_equiv="Content-Security-Policy", content=policy),
        title=join((subject, " - cirbench")),
        heading=join((subject,)),
        subject=join((_subject(data),)),
        links=links,
        problems=html_summary.problems(results.problems) or "",
        sections=join(_section(*part) for part in parts),
        style=style,
        script=script,
    )


def _subject(data: Data) -> str:
    sets = ", ".join(sorted(set(data.rows["set"])))
    return f"against the HQ photos of {sets}" if not data.models else f"on {sets}, against the LQ"


def _section(name: str, title: str, content: Html) -> Html:
    return tag("section", tag("h2", title), content, id=name, aria_label=title)


def _pictures(data: Data, budget: int) -> Html:
    measure = _main(data)
    if measure is None:
        return tag("p", "No metric scores single images, so none can be ranked.", class_="quiet")
    return html_views.section(data, measure, budget)


def _main(data: Data) -> Measure | None:
    """What images are ranked by: the first measure that scores single images."""
    return next((one for one in data.measures if data.per_image(one)), None)


def _file(name: str) -> str:
    return (files("cirbench") / "report" / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """A content security policy's name for an inline text."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
