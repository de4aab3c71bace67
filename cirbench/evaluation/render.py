"""A table as terminal text, Markdown or LaTeX; summaries as CSV."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..printable import clean, line
from ..report.summary import aligned
from .results import BEST, MISSING, SECOND, Cell, Column, Table

WIDTH = 110
"""Wider tables are printed one group of columns after another."""

_TERMINAL = {BEST: "*", SECOND: "'", "": " "}
_LEGEND = {BEST: "* best", SECOND: "' second best"}


def text(table: Table) -> str:
    """Columns of plain text under the title; best and second best marked with ``*`` and ``'``."""
    parts = [_plain(table)]
    if max(map(len, parts[0].splitlines())) > WIDTH:
        parts = [
            f"{name}\n{_plain(part)}" if name else _plain(part) for name, part in _split(table)
        ]
    present = {cell.mark for row in table.rows for cell in row}
    legend = ", ".join(words for mark, words in _LEGEND.items() if mark in present)
    notes = [f"{legend} of the models compared"] if legend else []
    found = [table.title, "", "\n\n".join(parts), *_footnotes([*notes, *table.notes])]
    return clean("\n".join(found))


def _plain(table: Table) -> str:
    groups = [column.group for column in table.columns]
    lines = [[column.title for column in table.columns]]
    if len(set(groups) - {""}) > 1:
        lines.insert(0, [g if g != b else "" for g, b in zip(groups, ["", *groups], strict=False)])
    marks = _has_marks(table)
    for row in table.rows:
        lines.append(
            [c.text + (_TERMINAL[c.mark] if marks and c.value is not None else "") for c in row]
        )
    if marks:  # a place for the mark under every heading too
        lines = [
            [
                t + " " if at >= table.left and t and t[-1] not in "*' " else t
                for at, t in enumerate(line)
            ]
            for line in lines
        ]
    return aligned(lines, left=table.left)


def _split(table: Table) -> Iterator[tuple[str, Table]]:
    """The table once per group of columns."""
    for name in dict.fromkeys(column.group for column in table.columns[table.left :]):
        keep = [
            at for at, column in enumerate(table.columns) if at < table.left or column.group == name
        ]
        yield (
            name,
            Table(
                table.name,
                table.title,
                tuple(table.columns[at] for at in keep),
                tuple(tuple(row[at] for at in keep) for row in table.rows),
                (),
                table.left,
            ),
        )


def _footnotes(notes: list[str]) -> list[str]:
    return ["", *(f"  {note}" for note in notes)] if notes else []


def _has_marks(table: Table) -> bool:
    return any(cell.mark for row in table.rows for cell in row)


def markdown(table: Table) -> str:
    """A GitHub-flavoured table; best in bold, second best underlined."""
    heads = [f"{column.group} {column.title}".strip() for column in table.columns]
    rules = ["---" if at < table.left else "--:" for at in range(len(heads))]
    lines = [f"**{_md(table.title)}**", "", _line(map(_md, heads)), _line(rules)]
    for row in table.rows:
        lines.append(_line(_md_cell(cell) for cell in row))
    lines += ["", *(f"- {_md(note)}" for note in table.notes)] if table.notes else []
    return "\n".join(lines)


def _line(cells: object) -> str:
    return f"| {' | '.join(cells)} |"  # type: ignore[arg-type]


def _md(raw: str) -> str:
    return re.sub(r"([|*_`<>\[\]~$\\])", r"\\\1", line(raw))


def _md_cell(cell: Cell) -> str:
    shown = _md(cell.text)
    return {BEST: f"**{shown}**", SECOND: f"<u>{shown}</u>"}.get(cell.mark, shown)


def latex(table: Table) -> str:
    """A ``table`` float (needs ``booktabs``); best in bold, second best underlined."""
    numbers = len(table.columns) - table.left
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(table.title)}}}",
        rf"\begin{{tabular}}{{{'l' * table.left}{'r' * numbers}}}",
        r"\toprule",
    ]
    groups = _groups(table.columns, table.left)
    if any(name for name, _ in groups):
        spans = [rf"\multicolumn{{{count}}}{{c}}{{{_tex(name)}}}" for name, count in groups]
        lines.append(" & ".join([""] * table.left + spans) + r" \\")
        at = table.left + 1
        rules = []
        for _, count in groups:
            rules.append(rf"\cmidrule(lr){{{at}-{at + count - 1}}}")
            at += count
        lines.append("".join(rules))
    lines.append(" & ".join(_tex(column.title) for column in table.columns) + r" \\")
    before: tuple[str, ...] = ()
    for row in table.rows:
        label = tuple(cell.text for cell in row[: table.left - 1])
        lines += [r"\midrule"] if label != before else []
        shown = [Cell("")] * len(label) if label == before else row[: table.left - 1]
        before = label
        lines.append(" & ".join(map(_tex_cell, (*shown, *row[table.left - 1 :]))) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize {_tex(note)}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"])


def _groups(columns: tuple[Column, ...], left: int) -> list[tuple[str, int]]:
    """Neighbours with one group, and how many they are."""
    found: list[tuple[str, int]] = []
    for column in columns[left:]:
        if found and found[-1][0] == column.group:
            found[-1] = (column.group, found[-1][1] + 1)
        else:
            found.append((column.group, 1))
    return found


_TEX = {
    **{char: "\\" + char for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    MISSING: "---",
    "<": "$<$",
    ">": "$>$",
    # Behind a line's end these would be options of it.
    **{char: f"{{{char}}}" for char in "[]*"},
}


def _tex(raw: str) -> str:
    return "".join(_TEX.get(char, char) for char in line(raw))


def _tex_cell(cell: Cell) -> str:
    shown = _tex(cell.text)
    return {BEST: rf"\textbf{{{shown}}}", SECOND: rf"\underline{{{shown}}}"}.get(cell.mark, shown)
