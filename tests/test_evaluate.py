"""cirbench eval: scores, problems, resuming, third parties."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import ClassVar

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import cirbench
from cirbench import cli
from cirbench.errors import CirbenchError
from cirbench.evaluation import checkpoints, match
from cirbench.evaluation.journal import Journal
from cirbench.manifest import Manifest
from cirbench.models import restorer
from cirbench.models.restorer import Info

METRICS = ["psnr", "ssim"]


@pytest.fixture(scope="module")
def data(_originals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small photos, two tasks each."""
    out = tmp_path_factory.mktemp("data") / "tiny"
    cirbench.build(_originals, codec=["jpeg", "webp"], quality=10, out=out, jobs=2)
    return out


def evaluate(data: Path, out: Path, **given):
    given = {"metrics": METRICS, "report": False, "jobs": 2} | given
    return cirbench.evaluate(data, out=out, **given)


class Counting:
    """Brightens by one step and counts the images it was given."""

    made: ClassVar[list[int]] = []

    def __init__(self, checkpoint=None, device=None):
        pass

    def restore(self, lq, *, seeds, prompt=None):
        Counting.made += list(seeds)
        return np.clip(lq + np.float32(1 / 255), 0, 1)

    def info(self):
        return Info("counting", 1, version="1")


@pytest.fixture
def counting(monkeypatch):
    """A registered restorer that counts."""
    known = dict(restorer._registered())
    entry = restorer.EntryPoint("counting", f"{__name__}:Counting", restorer.GROUP)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    monkeypatch.setattr(restorer, "_registered", lambda: known | {"counting": entry})
    monkeypatch.setattr(Counting, "made", [])
    return Counting


def copy_lq(data: Path, to: Path, suffix: str = ".png") -> list[Path]:
    """A folder of "outputs": the LQs, in the layout of the data set."""
    manifest = Manifest.open(data)
    files = []
    for row in manifest:
        folder, name = match.place(row)
        file = to / row["codec"] / folder / row["set"] / f"{name}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(imagecodecs.png_encode(manifest.lq(row)))
        files.append(file)
    return files


def values(table, **wanted):
    return {
        (row["row_id"], row["metric"], row["protocol"]): row["value"]
        for row in table.to_pylist()
        if all(row[key] == value for key, value in wanted.items())
    }


@pytest.fixture(autouse=True)
def nothing_shipped(monkeypatch):
    """Without a model only the LQ is scored; the shipped one would take its time."""
    monkeypatch.setattr(checkpoints, "shipped", lambda: None)


def test_scores_are_those_of_scikit_image(data, tmp_path):
    results = evaluate(data, tmp_path / "out")
    found = values(results.scores)
    manifest = Manifest.open(data)
    assert len(found) == 6 * 3 and results.models == ("LQ",)
    weights = np.array([65.481, 128.553, 24.966]) / 255
    for row in manifest:
        hq, lq = manifest.hq(row), manifest.lq(row)
        y = [16 + image @ weights for image in (hq, lq)]
        ssim = structural_similarity(
            *y, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        wanted = {
            ("psnr", "native-rgb"): peak_signal_noise_ratio(hq, lq),
            ("psnr", "native-y"): peak_signal_noise_ratio(*y, data_range=255),
            ("ssim", "native-y"): ssim,
        }
        for what, value in wanted.items():
            assert found[row["row_id"], *what] == pytest.approx(value, abs=1e-9)
        assert found[row["row_id"], "psnr", "native-y"] == pytest.approx(row["psnr_y"], abs=1e-9)
    restored = results.restored("LQ", next(iter(manifest)))
    assert restored.dtype == np.uint8


def test_every_file_is_written_and_described(data, tmp_path):
    evaluate(data, tmp_path / "out", metrics=["psnr", "fid"])
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"scores.parquet", "summary.csv", "table.tex", "table.md"} <= names
    schema = pq.read_schema(tmp_path / "out" / "scores.parquet")
    assert all(field.metadata[b"description"] for field in schema)
    metadata = json.loads(schema.metadata[b"cirbench"])
    assert metadata["recipes"][0]["name"] == "paper"
    assert "imagecodecs" in metadata["provenance"]["versions"]


def test_missing_wrong_sized_grey_and_nan_outputs_are_reported_and_the_rest_scored(data, tmp_path):
    files = copy_lq(data, tmp_path / "theirs")
    files[0].unlink()
    small = imagecodecs.png_decode(files[1].read_bytes())[:-1]
    files[1].write_bytes(imagecodecs.png_encode(np.ascontiguousarray(small)))
    rgb = imagecodecs.png_decode(files[2].read_bytes())
    files[2].write_bytes(imagecodecs.png_encode(np.ascontiguousarray(rgb[..., 0])))
    floats = imagecodecs.png_decode(files[3].read_bytes()).astype(np.float32) / 255
    floats[0, 0, 0] = np.nan
    np.save(files[3].with_suffix(".npy"), floats)
    files[3].unlink()
    files[4].write_bytes(files[4].read_bytes()[:200])
    out = tmp_path / "out"
    done = CliRunner().invoke(
        cli.main,
        [
            *("eval", "--data", str(data), "--restored", str(tmp_path / "theirs")),
            *("--out", str(out), "--metrics", "psnr", "--no-report", "--jobs", "1"),
        ],
    )
    assert done.exit_code == 3, done.output
    said = [line for line in done.output.splitlines() if line.startswith("not scored: theirs")]
    assert len(said) == 5
    for reason in ("is missing", "to keep the size", "is grey", "1 NaN", "truncated"):
        assert sum(reason in line for line in said) == 1, (reason, said)
    scores = pq.read_table(out / "scores.parquet")
    assert len(values(scores, model="theirs")) == 2  # one output under two protocols
    assert len(values(scores, model="LQ")) == 12
    for key, value in values(scores, model="theirs").items():
        assert values(scores, model="LQ")[key] == value
    problems = json.loads(scores.schema.metadata[b"cirbench"])["problems"]
    assert sum(text.startswith("theirs, ") for text in problems) == 5


def test_outputs_as_float_arrays_are_rounded_to_8_bits(data, tmp_path):
    for file in copy_lq(data, tmp_path / "theirs"):
        rgb = imagecodecs.png_decode(file.read_bytes())
        np.save(file.with_suffix(".npy"), rgb / np.float64(255) + 0.001)
        file.unlink()
    results = evaluate(data, tmp_path / "out", restored=tmp_path / "theirs", metrics="psnr")
    assert results.missing == 0
    assert values(results.scores, model="theirs") == values(results.scores, model="LQ")


def test_grey_photos_may_come_back_grey(tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (24, 24), np.uint8)
    (tmp_path / "grey").mkdir()
    (tmp_path / "grey" / "a.png").write_bytes(imagecodecs.png_encode(photo))
    cirbench.build(tmp_path / "grey", codec="jpeg", quality=10, out=tmp_path / "data", jobs=1)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "a.png").write_bytes(imagecodecs.png_encode(photo))
    results = evaluate(
        tmp_path / "data", tmp_path / "out", restored=tmp_path / "theirs", metrics="psnr"
    )
    assert results.missing == 0
    assert set(values(results.scores, model="theirs").values()) == {np.inf}
    cells = {row[1].text: row[2].text for row in results.tables[0].rows}
    assert cells["theirs"] == "—"  # an infinite score is no number to average


def test_a_killed_evaluation_goes_on_and_ends_like_a_straight_one(
    data, tmp_path, counting, monkeypatch
):
    straight = tmp_path / "straight"
    evaluate(data, straight, model="counting", name="x")
    real, calls = Journal.add, []

    def dying(journal, scores):
        calls.append(1)
        if len(calls) > 4:
            raise KeyboardInterrupt
        real(journal, scores)

    monkeypatch.setattr(Journal, "add", dying)
    with pytest.raises(KeyboardInterrupt):
        evaluate(data, tmp_path / "killed", model="counting", name="x")
    monkeypatch.setattr(Journal, "add", real)
    assert not (tmp_path / "killed" / "scores.parquet").exists()
    with Journal(tmp_path / "killed") as journal:
        kept = sum(len(journal.scores(m, "", cirbench.__version__)) for m in ("LQ", "x"))
    assert kept == 4
    made = len(counting.made)
    evaluate(data, tmp_path / "killed", model="counting", name="x")
    assert len(counting.made) == made == 12  # 6 for each folder: nothing restored twice
    for name in ("scores.parquet", "summary.csv", "table.tex", "table.md"):
        assert (straight / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()


def test_adding_a_metric_restores_nothing_again(data, tmp_path, counting, monkeypatch):
    out = tmp_path / "out"
    evaluate(data, out, model="counting", metrics="psnr")
    assert len(counting.made) == len(set(counting.made)) == 6
    results = evaluate(data, out, model="counting", metrics="psnr,ssim")
    assert len(counting.made) == 6
    assert {row["metric"] for row in results.scores.to_pylist()} == {"psnr", "ssim"}
    monkeypatch.setattr(Manifest, "hq", None)  # nothing is read when nothing is to do
    monkeypatch.setattr(Manifest, "lq", None)
    assert evaluate(data, out, model="counting", metrics="psnr,ssim").scores == results.scores


def test_a_lost_or_damaged_cached_image_is_made_again(data, tmp_path, counting):
    out = tmp_path / "out"
    evaluate(data, out, model="counting", metrics="psnr")
    for number, file in enumerate(sorted((out / "restored").rglob("*.png"))[:2]):
        file.unlink() if number else file.write_bytes(b"no image")
    results = evaluate(data, out, model="counting", metrics="psnr,ssim")
    assert results.missing == 0 and len(counting.made) == 8


def test_another_version_of_a_restorer_is_scored_anew(data, tmp_path, counting, monkeypatch):
    evaluate(data, tmp_path / "out", model="counting", metrics="psnr")
    monkeypatch.setattr(Counting, "info", lambda self: Info("counting", 1, version="2"))
    evaluate(data, tmp_path / "out", model="counting", metrics="psnr")
    assert len(counting.made) == 12


def test_an_output_that_changes_is_scored_again(data, tmp_path):
    files = copy_lq(data, tmp_path / "theirs")
    first = evaluate(data, tmp_path / "out", restored=tmp_path / "theirs", metrics="psnr")
    black = np.zeros_like(imagecodecs.png_decode(files[0].read_bytes()))
    black[0, 0] = 1, 2, 3
    files[0].write_bytes(imagecodecs.png_encode(black))
    second = evaluate(data, tmp_path / "out", restored=tmp_path / "theirs", metrics="psnr")
    old, new = (values(one.scores, model="theirs") for one in (first, second))
    assert sum(old[key] != new[key] for key in old) == 2  # one row, two protocols


def test_a_restorer_that_returns_nan_or_another_size_gives_problems_not_scores(
    data, tmp_path, counting, monkeypatch
):
    def broken(self, lq, *, seeds, prompt=None):
        return lq[..., :-1] if lq.shape[-1] == 56 else lq * np.float32(np.nan)

    monkeypatch.setattr(Counting, "restore", broken)
    results = evaluate(data, tmp_path / "out", model="counting", metrics="psnr")
    assert results.missing == 6 and not values(results.scores, model="counting")
    assert sum("NaN" in text for text in results.problems) == 4
    assert results.restored("counting", next(iter(results.manifest))) is None


def test_the_checkpoint_guard_compares_training_and_test_data(
    data, tmp_path, counting, monkeypatch
):
    monkeypatch.setattr(Counting, "info", lambda self: Info("counting", trained_on=str(data)))
    results = evaluate(data, tmp_path / "out", model="counting", metrics="psnr")
    assert any("images in TRAIN and TEST (3)" in text for text in results.problems)
    assert results.missing == 0


def test_metrics_that_cannot_run_show_a_dash_and_a_footnote(data, tmp_path, monkeypatch):
    from dataclasses import replace

    from cirbench import metrics

    absent = replace(metrics.get("lpips"), problem=lambda: "LPIPS needs x; run: y")
    known = {name: metrics.get(name) for name in metrics.names()} | {"lpips": absent}
    monkeypatch.setattr(metrics, "_by_name", lambda: known)
    results = evaluate(data, tmp_path / "out", metrics="psnr,lpips")
    first = results.tables[0]
    assert [row[-1].text for row in first.rows] == ["—", "—"]
    assert "LPIPS needs x; run: y" in first.notes
    assert {row["metric"] for row in results.scores.to_pylist()} == {"psnr"}


def test_another_restorer_under_the_same_name_is_another_method(data, tmp_path, counting):
    one = evaluate(data, tmp_path / "out", model="identity", name="mine")
    two = evaluate(data, tmp_path / "out", model="counting", name="mine")
    assert len(counting.made) == 6
    assert values(one.scores, model="mine") == values(one.scores, model="LQ")
    assert values(two.scores, model="mine") != values(one.scores, model="mine")


def test_the_provenance_names_the_split_that_was_scored(data, tmp_path):
    assert evaluate(data, tmp_path / "out").provenance["split"] == "none"


def test_rows_can_be_chosen(data, tmp_path):
    results = evaluate(
        data, tmp_path / "out", metrics="psnr", where={"codec": "webp"}, limit=2, by="task"
    )
    assert {row["task"] for row in results.scores.to_pylist()} == {"webp-qf10"}
    assert len({row["hq_path"] for row in results.scores.to_pylist()}) == 2
    with pytest.raises(CirbenchError, match="no codec 'vvc' among the rows; there are jpeg, webp"):
        evaluate(data, tmp_path / "out", where={"codec": "vvc"})
    with pytest.raises(CirbenchError, match="no rows to evaluate"):
        evaluate(data, tmp_path / "out", split="train")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"by": "photo"}, "by cannot be 'photo'"),
        ({"metrics": "psnrr"}, "did you mean psnr"),
        ({"protocol": "native"}, "did you mean native-"),
        ({"metrics": "fid", "protocol": "native-y"}, "nothing to compute"),
        ({"model": "debloc"}, "did you mean deblock"),
        ({"model": "deblock", "name": "lq"}, "two models would be called 'lq'"),
        ({"model": "deblock", "checkpoint": "nowhere.pt"}, "nowhere.pt does not exist"),
        ({"checkpoint": "nowhere.pt"}, "add --model NAME"),
        ({"restored": "nowhere"}, "is no folder"),
        ({"pattern": "{name}"}, "add --restored"),
        ({"restored": ".", "pattern": "{name}", "csv": "x.csv"}, "give one of them"),
        ({"against": "x"}, "none of the models"),
    ],
)
def test_mistakes_get_one_sentence(data, tmp_path, given, says):
    with pytest.raises(CirbenchError, match=says):
        evaluate(data, tmp_path / "out", **given)


def test_a_data_set_is_never_written_into(data):
    with pytest.raises(CirbenchError, match="is a data set"):
        evaluate(data, data)


def test_a_third_party_restorer_is_found_through_its_entry_point(data, tmp_path, monkeypatch):
    site = tmp_path / "site"
    (site / "toy-1.0.dist-info").mkdir(parents=True)
    (site / "toy-1.0.dist-info" / "METADATA").write_text("Name: toy\nVersion: 1.0\n")
    (site / "toy-1.0.dist-info" / "entry_points.txt").write_text(
        "[cirbench.restorers]\ntoy = toy:Toy\nbroken = toy_missing:Toy\n"
    )
    (site / "toy.py").write_text(
        "import numpy as np\n"
        "from cirbench.models.restorer import Info\n"
        "class Toy:\n"
        "    def __init__(self, checkpoint, device): pass\n"
        "    def restore(self, lq, *, seeds, prompt=None):\n"
        "        noise = [np.random.default_rng(s).normal(0, .1, lq.shape[1:]) for s in seeds]\n"
        "        return (lq + np.stack(noise)).astype(np.float32)\n"
        "    def info(self): return Info('toy', version='1.0')\n"
    )
    monkeypatch.syspath_prepend(str(site))
    restorer._registered.cache_clear()
    try:
        assert "toy" in restorer.names()
        one, two = (
            evaluate(data, tmp_path / str(jobs), model="toy", metrics="psnr", jobs=jobs)
            for jobs in (1, 2)
        )
        assert one.scores == two.scores  # seeds come from row ids, not from order
        with pytest.raises(CirbenchError, match="'broken' of the package toy cannot be loaded"):
            restorer.get("broken")
    finally:
        restorer._registered.cache_clear()
