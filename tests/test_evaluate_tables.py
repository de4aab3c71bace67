"""Means, intervals, tables in every format, and comparisons of evaluations."""

from __future__ import annotations

import csv
import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy import stats

from cirbench import metrics
from cirbench.evaluation import aggregate, bootstrap, files, paired, render, tables
from cirbench.evaluation.results import BEST, MISSING, SECOND
from cirbench.evaluation.schema import SCORES_SCHEMA

PAIRS = [(metrics.get("psnr"), "native-y"), (metrics.get("lpips"), "native-rgb")]
TASKS = {
    "jpeg-qf5": "seen",
    "jpeg-qf10": "seen",
    "jpeg-qf25": "cross-degree",
    "vvc-qp37": "seen",
    "avc-qp42": "cross-type",
}


def scores(
    models=("LQ", "a", "b"), sets=("live1",), images=5, shift=0.0, tasks=TASKS, seed=0
) -> pa.Table:
    """Made-up scores: model k is k dB better, and in LPIPS k / 10 better."""
    rng = np.random.default_rng(seed)
    rows = []
    for name in sets:
        for image in range(images):
            for task, kind in tasks.items():
                codec, level = task.split("-")
                base = rng.normal(30, 3)
                for k, model in enumerate(models):
                    row = {
                        "row_id": f"{name}{image}{task}",
                        "set": name,
                        "split": "test",
                        "kind": kind,
                        "task": task,
                        "codec": codec,
                        "level": level,
                        "level_value": int(level[2:]),
                        "variant": "",
                        "hq_path": f"{image}.png",
                        "model": model,
                        "checkpoint": "",
                        "protocol_version": 1,
                        "cirbench_version": "0",
                    }
                    for metric, protocol, value in (
                        ("psnr", "native-y", base + k + shift),
                        ("lpips", "native-rgb", 0.5 - k / 10),
                    ):
                        rows.append(row | {"metric": metric, "protocol": protocol, "value": value})
    return pa.Table.from_pylist(rows, schema=SCORES_SCHEMA)


def cells(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_table_1_is_the_mean_of_each_codecs_seen_levels():
    table = scores()
    shown = tables.by(table, PAIRS, ["LQ", "a", "b"])
    assert [row[:2] for row in cells(shown)] == [
        [codec, model] for codec in ("jpeg", "vvc") for model in ("LQ", "a", "b")
    ]
    wanted = np.mean(
        [
            row["value"]
            for row in table.to_pylist()
            if row["task"] in ("jpeg-qf5", "jpeg-qf10")
            and (row["model"], row["metric"]) == ("a", "psnr")
        ]
    )
    cell = shown.rows[1][2]
    assert cell.value == pytest.approx(wanted, abs=1e-12) and cell.text == f"{wanted:.2f}"
    assert (cell.images, cell.rows) == (5, 10)
    assert cell.low < cell.value < cell.high
    assert [row[2].mark for row in shown.rows] == ["", SECOND, BEST] * 2
    assert [row[3].mark for row in shown.rows] == ["", SECOND, BEST] * 2  # lower is better
    assert shown.notes[0] == "jpeg: qf5, qf10; vvc: qp37"


def test_codecs_without_seen_levels_show_their_others_but_never_unseen_ones():
    table = scores(tasks={"jpeg-qf5": "seen", "jpeg-qf20": "other", "webp-qf1": "other"} | TASKS)
    shown = tables.by(table, PAIRS, ["LQ", "a"])
    assert shown.notes[0] == "jpeg: qf5, qf10; webp: qf1; vvc: qp37"
    only = scores(tasks={"avc-qp42": "cross-type"})
    assert cells(tables.by(only, PAIRS, ["LQ"]))[0][0] == "avc"


def test_equal_printed_values_share_a_mark_and_one_model_gets_none():
    table = scores(models=("LQ", "a"))
    assert [row[2].mark for row in tables.by(table, PAIRS, ["LQ", "a"]).rows] == ["", BEST] * 2
    assert {c.mark for row in tables.by(table, PAIRS, ["LQ"]).rows for c in row} == {""}
    same = scores(models=("LQ", "a"), tasks={"jpeg-qf5": "seen"})
    same = same.set_column(
        SCORES_SCHEMA.get_field_index("value"),
        SCORES_SCHEMA.field("value"),
        pa.array([1.0] * len(same)),
    )
    assert {c.mark for row in tables.by(same, PAIRS, ["LQ", "a"]).rows for c in row} == {""}


def test_table_2_has_the_kinds_side_by_side():
    shown = tables.kinds(scores(sets=("live1", "icb")), PAIRS, ["LQ", "a"])
    assert [column.group for column in shown.columns[2:]] == [
        kind for kind in ("seen", "cross-degree", "cross-type") for _ in PAIRS
    ]
    assert [row[:2] for row in cells(shown)] == [
        ["icb", "LQ"], ["icb", "a"], ["live1", "LQ"], ["live1", "a"]
    ]  # fmt: skip
    assert "cross-type: avc-qp42" in shown.notes
    assert tables.kinds(scores(tasks={"jpeg-qf5": "seen"}), PAIRS, ["LQ"]) is None


@pytest.mark.parametrize(
    ("by", "left"),
    [
        ("level", [["jpeg", "qf5"], ["jpeg", "qf10"], ["jpeg", "qf25"], ["vvc", "qp37"]]),
        ("task", [["jpeg-qf5", "seen"], ["jpeg-qf10", "seen"], ["jpeg-qf25", "cross-degree"]]),
        ("kind", [["seen"], ["cross-degree"], ["cross-type"]]),
        ("set", [["icb"], ["live1"]]),
    ],
)
def test_rows_by(by, left):
    shown = tables.by(scores(sets=("live1", "icb")), PAIRS, ["LQ"], by)
    assert [row[: len(left[0])] for row in cells(shown)][: len(left)] == left
    assert all(cell != MISSING for row in cells(shown) for cell in row)


def test_variants_of_a_task_have_lines_of_their_own():
    both = pa.concat_tables([scores(), scores(tasks={"jpeg-qf5": "seen"})]).to_pylist()
    rows = [row | {"variant": "chroma=444" * (i >= len(scores()))} for i, row in enumerate(both)]
    table = pa.Table.from_pylist(rows, schema=SCORES_SCHEMA)
    names = [row[0] for row in cells(tables.by(table, PAIRS, ["LQ"], "task"))]
    assert names == ["jpeg-qf5", "jpeg-qf10", "jpeg-qf25", "jpeg-qf5 chroma=444", *[*TASKS][3:]]
    assert "seen: jpeg-qf5, jpeg-qf10, jpeg-qf5 chroma=444, vvc-qp37" in (
        tables.kinds(table, PAIRS, ["LQ"]).notes
    )


def test_nothing_is_marked_where_models_have_other_rows():
    table = scores(models=("LQ", "a"), tasks={"jpeg-qf5": "seen"})
    table = table.filter(
        pc.or_(pc.equal(table["model"], "LQ"), pc.equal(table["hq_path"], "1.png"))
    )
    assert {c.mark for row in tables.by(table, PAIRS, ["LQ", "a"]).rows for c in row} == {""}


def test_printed_numbers_are_labelled_shown_once_and_never_marked():
    both = [*PAIRS, (metrics.get("psnr"), "native-rgb")]
    shown = tables.by(scores(), both, ["LQ", "a", "b"], with_paper=True)
    rows = [row for row in shown.rows if "MoE-DiffIR" in row[1].text]
    assert [cell.text for cell in rows[0]] == [
        "jpeg", "MoE-DiffIR (as printed, protocol unknown)", "30.50", ".0964", MISSING
    ]  # fmt: skip
    assert {cell.mark for row in rows for cell in row} == {""}
    other = tables.by(scores(sets=("own",)), PAIRS, ["LQ"], with_paper=True)
    assert any("no printed numbers for own" in note for note in other.notes)


def test_missing_scores_are_dashes_and_infinite_ones_are_left_out_and_counted():
    table = scores(models=("LQ",), tasks={"jpeg-qf5": "seen"})
    rows = table.filter(pc.equal(table["metric"], "psnr")).to_pylist()
    rows[0]["value"] = np.inf
    shown = tables.by(pa.Table.from_pylist(rows, schema=SCORES_SCHEMA), PAIRS, ["LQ", "gone"])
    assert shown.rows[0][2].value == pytest.approx(np.mean([r["value"] for r in rows[1:]]))
    assert cells(shown)[1][2:] == [MISSING, MISSING] and cells(shown)[0][3] == MISSING
    assert any("1 infinite scores" in note for note in shown.notes)


def test_the_interval_is_that_of_scipys_bootstrap():
    for n in (8, 60):
        sample = np.random.default_rng(n).gamma(2, 3, n)
        ours = bootstrap.interval(sample)
        theirs = stats.bootstrap(
            (sample,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(0)
        ).confidence_interval
        width = theirs.high - theirs.low
        assert ours == pytest.approx(tuple(theirs), abs=0.06 * width)
        assert bootstrap.interval(sample) == ours
    assert bootstrap.interval(np.array([1.0])) is None


@pytest.mark.parametrize("n", [2, 9, 13, 40])
def test_the_p_value_is_that_of_scipys_permutation_test(n):
    differences = np.random.default_rng(n).normal(0.4, 1, n)
    ours = bootstrap.paired(differences)
    theirs = stats.permutation_test(
        (differences, np.zeros(n)),
        lambda x, y: np.mean(x - y),
        permutation_type="samples",
        vectorized=False,
        n_resamples=9999,
        rng=np.random.default_rng(0),
    )
    assert ours.p == pytest.approx(theirs.pvalue, abs=1e-12 if n <= 9 else 0.02)
    assert ours.mean == pytest.approx(differences.mean()) and ours.images == n
    assert bootstrap.paired(np.zeros(n)).p == 1


def test_paired_differences_use_the_rows_both_models_have():
    table = scores(images=6)
    gone = pc.and_(pc.equal(table["model"], "b"), pc.equal(table["hq_path"], "0.png"))
    shown = paired.paired(table.filter(pc.invert(gone)), PAIRS, ["LQ", "a", "b"])
    seen = [row for row in shown.rows if row[1].text == "seen" and row[2].text == "PSNR Y ↑"]
    assert [(row[3].text, row[4].text, row[7].text) for row in seen] == [
        ("a", "+1.000", "6"), ("b", "+2.000", "5")
    ]  # fmt: skip
    assert seen[0][6].value == pytest.approx(2 / 2**6)
    assert paired.paired(table, PAIRS, ["LQ"]) is None


def test_means_do_not_depend_on_the_order_of_rows():
    table = scores(images=9)
    keys = ["codec", "model", "metric", "protocol"]
    shuffled = table.take(pa.array(np.random.default_rng(0).permutation(len(table))))
    one, two = (aggregate.means(rows, keys) for rows in (table, shuffled))
    assert one.keys() == two.keys()
    for key, mean in one.items():
        for name, value in vars(mean).items():
            assert getattr(two[key], name) == pytest.approx(value, abs=1e-9)


def test_terminal_markdown_and_latex_show_the_same_cells():
    shown = tables.by(scores(sets=("a_b&c",)), PAIRS, ["LQ", "a", "b"])
    text, markdown, latex = (draw(shown) for draw in (render.text, render.markdown, render.latex))
    for row in shown.rows:
        for cell in row[2:]:
            assert cell.text in text and cell.text in markdown and cell.text in latex
    best = next(cell.text for row in shown.rows for cell in row if cell.mark == BEST)
    assert f"{best}*" in text and f"**{best}**" in markdown and rf"\textbf{{{best}}}" in latex
    assert r"a\_b\&c" in latex and "a\\_b&c" in markdown
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 1
    body = [
        line for line in latex.splitlines() if line.endswith(r"\\") and "multicolumn" not in line
    ]
    assert {line.count(" & ") for line in body} == {3}  # four columns in every line


def test_wide_tables_are_printed_one_group_after_another():
    narrow = render.text(tables.by(scores(sets=("x", "y")), PAIRS, ["LQ"]))
    wide = render.text(tables.by(scores(sets=tuple("abcdefgh")), PAIRS, ["LQ"]))
    assert max(map(len, wide.splitlines()[1:])) <= render.WIDTH
    assert narrow.count("codec") < wide.count("codec  model") == 8


def test_summary_csv_holds_every_mean_with_its_interval():
    lines = list(csv.DictReader(io.StringIO(files.summary(scores()))))
    groups = {(line["by"], line["group"]) for line in lines}
    assert ("codec", "cross-degree jpeg") in groups and ("task", "jpeg-qf25") in groups
    one = next(line for line in lines if line["group"] == "jpeg-qf5" and line["model"] == "a")
    assert float(one["low"]) <= float(one["mean"]) <= float(one["high"]) and one["images"] == "5"
