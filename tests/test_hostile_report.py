"""Names that are markup, macros or formulas, in every file that people open."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from report_page import fake_results, write_photos
from test_report_browser import driver as browser
from test_report_html import Elements

from cirbench import Manifest, build, printable
from cirbench.evaluation import files, render
from cirbench.evaluation.results import BEST, LQ, Cell, Column, Results, Table
from cirbench.export import card
from cirbench.report import html

EVIL = (
    "</script><script>window.owned=1</script>",
    "</style><script>window.owned=1</script>",
    '"><img src=x onerror="window.owned=1">',
    "'><svg/onload=window.owned=1>",
    "javascript:window.owned=1",
    "<!--",
    "]]><b>",
    "&lt;script&gt;window.owned=1&lt;/script&gt;",
    "${policy} $style {{7*7}}",
    "a  b",
)
driver = browser
COLUMNS = ("set", "variant", "encoder", "encoder_version", "encoder_args", "preset", "recipe")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Results whose every free text is one of EVIL, the models' names too."""
    folder = tmp_path_factory.mktemp("hostile")
    write_photos(folder / "photos")
    build(folder / "photos", codec="jpeg", quality=[10], out=folder / "data")
    found = fake_results(folder / "data", (LQ, *EVIL))
    table = found.manifest.table
    for number, name in enumerate(COLUMNS):
        at, kind = table.schema.get_field_index(name), table.schema.field(name)
        column = pa.array([EVIL[number % len(EVIL)]] * len(table), kind.type)
        table = table.set_column(at, kind, column)
    recipes = [{"name": EVIL[2], "version": 1, "sha256": "<"}]
    meta = {"schema_version": 1, "cirbench_version": EVIL[0], "recipes": recipes}
    manifest = Manifest(found.manifest.folder, table, meta, {"photos": folder / "photos"})
    cells = tuple((Cell(one, BEST), Cell(one)) for one in EVIL)
    shown = Table("t", EVIL[0], tuple(Column(one, one) for one in EVIL[:2]), cells, EVIL, left=1)
    return replace(
        found,
        manifest=manifest,
        tables=[shown],
        problems=list(EVIL),
        provenance={one: one for one in EVIL},
    )


def test_a_report_has_no_element_that_it_was_not_given(hostile: Results) -> None:
    text = html.page(hostile)
    plain = Elements(html.page(replace(hostile, problems=[], provenance={}, tables=[])))
    page = Elements(text)
    assert {name for name, _ in page.found} <= {name for name, _ in plain.found} | {"ul", "li"}
    for name in ("script", "style", "main"):
        assert len(page.named(name)) == 1
    for name, attributes in page.found:
        assert not [key for key in attributes if key.startswith("on") or key == "style"], name
        for key in ("src", "href"):
            assert attributes.get(key, "#").startswith(("#", "data:image/webp;"))
    words = "".join(page.words)
    assert all(one in words for one in EVIL)


def test_a_browser_runs_nothing_of_it(hostile: Results, tmp_path: Path, driver: Any) -> None:
    driver.get(html.write(hostile, tmp_path / "report.html").as_uri())
    assert driver.execute_script("return window.owned") is None
    assert driver.execute_script("return document.images.length") > len(EVIL)
    driver.execute_script(
        "for (const one of document.querySelectorAll('select')) "
        "for (const option of one.options) { one.value = option.value; "
        "one.dispatchEvent(new Event('change')); }"
    )
    assert driver.execute_script("return window.owned") is None
    assert driver.get_log("browser") == []


def test_a_data_card_keeps_names_in_their_cells(hostile: Results) -> None:
    text = card.text(hostile.manifest, 0, {}, "")
    assert "<script" not in text and "<img" not in text and "<svg" not in text


TEXTS = [
    *EVIL,
    "[x](javascript:alert(1))",
    "![x](http://example.org/x.png)",
    "a|b",
    "a\nb",
    "a\r\n\r\n# b",
    "`x`",
    "\\input{/etc/passwd}",
    "\\write18{rm}",
    "[1cm]",
    "*",
    "$x^2$ ~ 50% #1 & {a}_b",
    "\x1b[31m\u202e",
]


def drawn(text: str) -> Table:
    rows = ((Cell(text), Cell("1.00", BEST)), (Cell("LQ"), Cell(text)))
    return Table("t", text, (Column("model"), Column(text, text)), rows, (text,), left=1)


@pytest.mark.parametrize("text", TEXTS)
def test_markdown_cells_are_text(text: str) -> None:
    lines = render.markdown(drawn(text)).split("\n")
    assert len(lines) == 8
    for line in lines[2:6]:
        assert len(line.replace("\\\\", "").replace("\\|", "").split("|")) == 4
    page = "\n".join(lines).replace("<u>", "").replace("</u>", "").replace("\\\\", "")
    for character in "<>[]`$":
        assert page.count(character) == page.count("\\" + character)
    assert page.replace("\n", "").isprintable()


@pytest.mark.parametrize("text", TEXTS)
def test_latex_cells_are_text(text: str) -> None:
    drawing = render.latex(drawn(text))
    known = {"begin", "end", "centering", "caption", "toprule", "midrule", "bottomrule", "par"}
    known |= {"multicolumn", "cmidrule", "textbf", "underline", "footnotesize"}
    known |= {"textbackslash", "textasciitilde", "textasciicircum"}
    assert set(re.findall(r"\\([a-z]+)", drawing)) <= known
    plain = re.sub(r"\$[<>]\$|\\[&%$#_{}]|\\\\", "", drawing)
    assert "$" not in plain and "#" not in plain and "%" not in plain and "~" not in plain
    assert plain.count("{") == plain.count("}")
    for line in drawing.split("\n"):
        assert not line.startswith(("[", "*")) and line.isprintable()


def test_a_spreadsheet_finds_no_formula(hostile: Results) -> None:
    for evil in ("=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1"):
        at = hostile.scores.schema.get_field_index("model")
        column = pa.array([evil] * len(hostile.scores))
        table = hostile.scores.set_column(at, hostile.scores.schema.field(at), column)
        rows = list(csv.reader(io.StringIO(files.summary(table), newline="")))
        assert rows[1][rows[0].index("model")] == (
            "\\r=1" if evil == "\r=1" else "'" + evil.strip()
        )
        for row in rows[1:]:
            numbers = {"mean", "low", "high", "images", "rows", "protocol_version"}
            texts = [cell for name, cell in zip(rows[0], row, strict=True) if name not in numbers]
            assert not [cell for cell in texts if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_plots_take_dollars_for_dollars(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from cirbench.report import plots, summary

    write_photos(tmp_path / "photos")
    build(tmp_path / "photos", codec="jpeg", quality=[5, 10], out=tmp_path / "data")
    manifest = Manifest.open(tmp_path / "data")
    means = [row | {"variant": "$\\frac{$"} for row in summary.rows(tmp_path / "data")]
    name, drawing = next(plots.files(means, manifest.table, "svg"))
    assert name == "rate_distortion" and b"\\frac{" in drawing


def test_what_is_printable_stays() -> None:
    for text in ("é ü 漢字 🙂", "a\tb\nc", ""):
        assert printable.clean(text) == text
    assert printable.clean("\x1b\udcff") == "\\x1b\\udcff"
    assert printable.cell("a=b") == "a=b" and printable.line(" a\nb ") == "a b"
