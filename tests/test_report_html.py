"""report.html: its structure, numbers, escaping and pixels (no browser needed)."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from report_page import MODEL, NAME, fake_results, write_photos

from cirbench import CirbenchError, build
from cirbench.evaluation.aggregate import GROUP
from cirbench.evaluation.results import BEST, LQ, Cell, Column, Results, Table
from cirbench.report import html, html_chart, html_pictures, html_summary, html_text
from cirbench.report.drawing import busiest
from cirbench.report.html_data import Data


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_photos(folder / "photos")
    build(folder / "photos", codec=["jpeg", "webp"], out=folder / "data")
    return folder / "data"


@pytest.fixture(scope="module")
def results(data_set: Path) -> Results:
    return fake_results(data_set, (LQ, MODEL))


@pytest.fixture(scope="module")
def page(results: Results) -> str:
    return html.page(results)


class Elements(HTMLParser):
    """Every element's name and attributes, the text, and whether tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs))
        self.found.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in ("img", "input", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def named(self, name: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.found if tag == name]


def pixels(uri: str) -> np.ndarray:
    head, _, data = uri.partition(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_everything_is_inside_the_file_and_nothing_is_inline_code(page: str) -> None:
    elements = Elements(page)
    for name, attributes in elements.found:
        assert not [key for key in attributes if key.startswith("on") or key == "style"], name
        assert attributes.get("src", "data:image/webp;").startswith("data:image/webp;")
        assert attributes.get("href", "#").startswith("#")
        assert name not in ("link", "iframe", "object", "form", "base")
    assert "http:" not in page and "https:" not in page and "url(" not in page
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [a["href"][1:] for a in elements.named("a")]
    assert targets and set(targets) <= set(ids)


def test_policy_allows_exactly_the_page_s_own_style_and_script(page: str) -> None:
    policy = next(a["content"] for a in Elements(page).named("meta") if "http-equiv" in a)
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for name in ("style", "script"):
        texts = re.findall(f"<{name}>(.*?)</{name}>", page, re.DOTALL)
        assert len(texts) == 1
        digest = base64.b64encode(hashlib.sha256(texts[0].encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy


def test_names_are_text_and_never_markup(results: Results) -> None:
    evil = "</script><script>alert(3)</script>\u202e\x07"
    table = Table("t", evil, (Column(evil, evil),), ((Cell(evil, BEST),),), (evil,), left=0)
    hostile = replace(results, problems=[evil], provenance={evil: evil}, tables=[table])
    elements = Elements(html.page(hostile))
    words = "".join(elements.words)
    assert NAME in words and MODEL in words and "alert(3)" in words
    assert "\u202e" not in words and "\\u202e" in words and "\x07" not in words
    assert len(elements.named("script")) == 1
    assert all(
        attributes["src"].startswith("data:")
        for attributes in elements.named("img")
        if "src" in attributes
    )
    assert any(NAME in attributes.get("alt", "") for attributes in elements.named("img"))


@given(st.text(), st.text())
def test_any_text_survives_as_text_and_as_attribute(text: str, value: str) -> None:
    shown, kept = html_text.clean(text), html_text.clean(value)
    elements = Elements(html_text.tag("p", text, title=value, class_=None, hidden=True))
    assert elements.found == [("p", {"title": kept, "hidden": ""})]
    assert "".join(elements.words) == shown


def test_accessible_names(page: str) -> None:
    elements = Elements(page)
    assert all("alt" in image for image in elements.named("img"))
    for drawing in elements.named("svg"):
        assert drawing.get("aria-label") or drawing.get("aria-hidden") == "true"
    for control in elements.named("button") + elements.named("select"):
        assert control["aria-label"]
    assert all(i["aria-label"] for i in elements.named("input") if i["type"] == "range")


def test_summary_has_the_mean_difference(results: Results, page: str) -> None:
    by_model = {
        model: {
            row["row_id"]: row["value"]
            for row in results.scores.to_pylist()
            if (row["model"], row["metric"], row["protocol"]) == (model, "psnr", "native-y")
        }
        for model in results.models
    }
    deltas = [by_model[MODEL][key] - value for key, value in by_model[LQ].items()]
    assert html_text.number(float(np.mean(deltas)), 2, sign=True) in page
    assert f"{np.mean(np.array(deltas) > 0):.0%}" in page
    data = Data(results)
    assert data.measures[0].title == "PSNR Y"
    assert data.delta(data.measures[0], MODEL)[0] == pytest.approx(np.mean(deltas))


def test_best_median_and_worst_are_those(results: Results) -> None:
    data = Data(results)
    measure = data.measures[0]
    cases = html_pictures.choose(data, measure)
    assert [(c.codec, c.rank) for c in cases] == [
        (codec, rank) for codec in ("jpeg", "webp") for rank in ("best", "median", "worst")
    ]
    for codec in ("jpeg", "webp"):
        gains = data.gains(measure, MODEL)[data.of(codec)]
        shown = {c.rank: data.gains(measure, MODEL)[c.place] for c in cases if c.codec == codec}
        assert shown["best"] == gains.max() and shown["worst"] == gains.min()
        assert np.sum(gains < shown["median"]) == (len(gains) - 1) // 2


def test_lower_is_better_turns_the_ranking_round(results: Results) -> None:
    data = Data(results)
    lower = replace(data.measures[0], higher=False)
    best = {c.codec: c.place for c in html_pictures.choose(data, lower) if c.rank == "best"}
    worst = html_pictures.choose(data, data.measures[0])
    assert best == {c.codec: c.place for c in worst if c.rank == "worst"}


def test_pictures_are_the_very_pixels(results: Results) -> None:
    data = Data(results)
    cases = html_pictures.choose(data, data.measures[0])
    pictures = html_pictures.load(data, cases, 10**8)
    assert len(pictures.shown) == len(cases) and not pictures.dropped and not pictures.problems
    manifest = results.manifest
    for one in pictures.shown:
        row = next(iter(manifest.filter(row_id=data.rows["row_id"][one.case.place])))
        crop = busiest(manifest.hq(row), 384)
        wanted = {"HQ": manifest.hq(row), LQ: manifest.lq(row), MODEL: results.restored(MODEL, row)}
        assert [name for name, _ in one.views] == list(wanted)
        for name, uri in one.views:
            assert np.array_equal(pixels(uri), wanted[name][crop])
        large = row["height"] > 384 or row["width"] > 384
        assert bool(one.overview) == large
        if large:
            assert max(pixels(one.overview).shape) == 168


def test_budget_is_kept_by_smaller_and_fewer_pictures_and_said(results: Results, page: str) -> None:
    data = Data(results)
    cases = html_pictures.choose(data, data.measures[0])
    full = sum(one.bytes for one in html_pictures.load(data, cases, 10**9).shown)
    less = html_pictures.load(data, cases, int(0.95 * full))
    assert less.side < 384 and len(less.shown) == len(cases)
    few = html_pictures.load(data, cases, full // 4)
    assert few.side == 256 and 0 < len(few.shown) < len(cases)
    assert sum(one.bytes for one in few.shown) <= full // 4
    assert len(few.shown) + len(few.dropped) == len(cases)
    bare = html.page(results, 0)
    assert "<article" not in bare and f"0 of {len(cases)} pictures are shown" in bare
    assert len(bare) < full < len(page)


def test_worst_images_are_kept_longest(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_pictures, "SIDES", (64,))
    data = Data(results)
    cases = html_pictures.choose(data, data.measures[0])
    everything = html_pictures.load(data, cases, 10**9).shown
    worst = [one for one in everything if one.case.rank == "worst"]
    assert html_pictures.load(data, cases, sum(one.bytes for one in worst)).shown == worst


def test_a_baseline_alone_has_hq_and_lq(data_set: Path) -> None:
    page = html.page(fake_results(data_set, (LQ,)))
    elements = Elements(page)
    keys = [a["data-key"] for _, a in elements.found if "data-key" in a]
    assert keys == ["HQ", LQ] * 6
    assert "Δ" not in "".join(elements.words)


def test_missing_scores_outputs_and_pixels_are_shown_as_missing(results: Results) -> None:
    scores = results.scores.to_pylist()
    lost = {row["row_id"] for row in results.manifest if row["codec"] == "webp"}
    kept = [r for r in scores if not (r["model"] == MODEL and r["row_id"] in lost)]
    kept[0]["value"] = math.inf
    page = html.page(
        replace(
            results,
            scores=pa.Table.from_pylist(kept, results.scores.schema),
            restored=lambda model, row: None,
            problems=["webp outputs are missing"],
        )
    )
    elements = Elements(page)
    keys = {a["data-key"] for _, a in elements.found if "data-key" in a}
    assert keys == {"HQ", LQ}
    assert "1 problem" in page and "webp outputs are missing" in page
    assert not re.search(r"\bnan\b", "".join(elements.words).lower())
    assert "nan" not in {a.get("points", "") for _, a in elements.found}


def test_a_moved_photo_is_told_and_the_rest_shown(results: Results, tmp_path: Path) -> None:
    manifest = type(results.manifest)(
        results.manifest.folder,
        results.manifest.table,
        results.manifest.metadata,
        {results.manifest.table["hq_root"][0].as_py(): tmp_path},
    )
    page = html.page(replace(results, manifest=manifest))
    assert "<article" not in page and "not shown: " in page and "is missing" in page


def test_metrics_of_groups_get_curves_and_gains_but_no_distribution(results: Results) -> None:
    from cirbench import metrics

    tasks = {(row["set"], row["task"]): row for row in results.scores.to_pylist()}
    rows = []
    for (group, task), row in tasks.items():
        for model, value in ((LQ, 80.25), (MODEL, 70.5)):
            rows.append(
                row
                | {
                    "row_id": f"{GROUP}{group}/{task}/",
                    "hq_path": "",
                    "model": model,
                    "metric": "fid",
                    "protocol": "native-rgb",
                    "value": value,
                }
            )
    scores = pa.concat_tables([results.scores, pa.Table.from_pylist(rows, results.scores.schema)])
    fid = metrics.get("fid")
    found = replace(results, scores=scores, metrics=results.metrics | {"fid": fid})
    data = Data(found)
    measure = data.measures[-1]
    assert (measure.metric, measure.perception, data.per_image(measure)) == ("fid", True, False)
    assert all(data.mean(measure, MODEL, task) == 70.5 for task in data.tasks)
    page = html.page(found)
    assert "FID RGB" in page and "\N{MINUS SIGN}9.75" in page
    assert "Distribution of Δ FID" not in page


def test_gains_are_over_the_rows_that_model_and_lq_both_have(results: Results) -> None:
    lq = results.scores.filter(pc.equal(results.scores["model"], LQ)).to_pylist()
    kept = [row | {"model": MODEL} for row in lq if row["hq_path"] != lq[0]["hq_path"]]
    found = replace(results, scores=pa.Table.from_pylist(lq + kept, results.scores.schema))
    data = Data(found)
    line = html_summary._line(data, data.measures[0], MODEL)
    assert [text.split(" ")[-1] for text in line[-2:]] == ["0.00", "0.00"]
    assert data.mean(data.measures[0], MODEL, data.tasks[0]) != pytest.approx(
        data.mean(data.measures[0], LQ, data.tasks[0])
    )


def test_equal_results_give_equal_bytes(results: Results, page: str, tmp_path: Path) -> None:
    path = html.write(results, tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8") == page


def test_nothing_to_report_is_an_error(results: Results, tmp_path: Path) -> None:
    with pytest.raises(CirbenchError, match="nothing to report"):
        html.write(replace(results, scores=results.scores.slice(0, 0)), tmp_path / "r.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(CirbenchError, match="cannot write"):
        html.write(results, tmp_path / "file" / "report.html")


def test_needs_neither_torch_nor_matplotlib() -> None:
    code = "import sys, cirbench.report.html; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "matplotlib"} & set(found.stdout.split())


finite = st.floats(-1e6, 0) | st.floats(1e-6, 1e6)


@given(st.lists(finite, max_size=5), st.booleans())
def test_scales_hold_their_values_and_ticks(values: list[float], log: bool) -> None:
    low, high = html_chart.span(values, log=log)
    assert low < high
    scale = html_chart.Scale(low, high, 10, 110, log)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 12 and ticks == sorted(ticks)
    for value in [*ticks, *(v for v in values if v > 0 or not log)]:
        assert 10 - 1e-6 <= scale(value) <= 110 + 1e-6


@pytest.mark.parametrize(
    ("value", "digits", "sign", "wanted"),
    [
        (1.005, 1, False, "1.0"),
        (-0.004, 2, True, "0.00"),
        (-1.25, 2, True, "\N{MINUS SIGN}1.25"),
        (0.5, 2, True, "+0.50"),
        (math.inf, 2, False, "\N{INFINITY}"),
        (math.nan, 2, False, "\N{EN DASH}"),
    ],
)
def test_numbers(value: float, digits: int, sign: bool, wanted: str) -> None:
    assert html_text.number(value, digits, sign) == wanted
