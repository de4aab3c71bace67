"""The guard: does what is tested fit what was trained on?"""

from __future__ import annotations

import json
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

import cirbench
from cirbench import Manifest, sources
from cirbench.check import Mismatch, Report, check
from cirbench.cli import main

TRAINED_JPEG = ("jpeg-qf10", "jpeg-qf15", "jpeg-qf20")
PAPER_JPEG = [5, 10, 15]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data sets of one small noise photo each: JPEG only, as recipe and levels say."""
    base = tmp_path_factory.mktemp("sets")

    def build(name: str, seed: int, **wanted: object) -> Path:
        photos = base / f"{name}-hq"
        photos.mkdir()
        rgb = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)
        (photos / "photo.png").write_bytes(imagecodecs.png_encode(rgb))
        options = {"codec": "jpeg", "out": base / name, "set_name": name} | wanted
        result = cirbench.build(photos, **options)  # type: ignore[arg-type]
        assert result.made and not result.failed
        return base / name

    return {
        "release": build("release", 1, recipe_name="release", split="train"),
        "paper": build("paper", 2, recipe_name="paper", split="test"),
        "as-released": build("as-released", 3, recipe_name="release", quality=PAPER_JPEG),
        "444": build("444", 4, chroma="444"),
        "leak": build("leak", 1, recipe_name="release"),
        "one-off": build("one-off", 5, quality=[15, 20]),
        "both": build("both", 6, codec=["jpeg", "webp"], split="train"),
    }


def report_of(folders: dict[str, Path], train: str, test: str) -> Report:
    return check(Manifest.open(folders[train]), Manifest.open(folders[test]))


def changed(manifest: Manifest, **columns: object) -> Manifest:
    """The manifest with columns set to one value in all rows."""
    table = manifest.table
    for name, value in columns.items():
        at, field = table.schema.get_field_index(name), table.schema.field(name)
        table = table.set_column(at, field, pa.array([value] * len(table), type=field.type))
    return Manifest(manifest.folder, table, manifest.metadata)


def pixels(sha256: str) -> dict[str, str]:
    """Columns of a photo that was coded whole."""
    return {"hq_sha256": sha256, "photo_sha256": sha256}


def test_it_would_have_caught_the_releases_own_mismatch(folders) -> None:
    """Trained on JPEG 10/15/20, tested on LIVE1 with JPEG 5/10/15: users could not reproduce it."""
    found = report_of(folders, "release", "paper")
    assert found.missing == (("jpeg-qf5", TRAINED_JPEG),)
    assert found.problems == [
        "tested but not trained on: jpeg-qf5; TRAIN has jpeg-qf10, jpeg-qf15, jpeg-qf20"
    ]
    assert found.alike == ("jpeg-qf10", "jpeg-qf15")
    assert found.notes == ["not trained on, as cross-degree means: jpeg-qf25"]
    done = CliRunner().invoke(main, ["check", str(folders["release"]), str(folders["paper"])])
    assert done.exit_code == 1 and f"problem: {found.problems[0]}\n" in done.output


def test_unseen_tasks_are_noted_calmly(folders) -> None:
    """The same levels with the release's own kinds: QF 5 is what it is, an unseen degree."""
    found = report_of(folders, "release", "as-released")
    assert found.unseen == (("jpeg-qf5", "cross-degree"),) and not found.problems
    done = CliRunner().invoke(main, ["check", str(folders["release"]), str(folders["as-released"])])
    assert done.exit_code == 0, done.output
    assert "note: not trained on, as cross-degree means: jpeg-qf5\n" in done.output
    assert done.output.endswith("tasks that fit: 2, problems: 0\n")


def test_a_level_nobody_declared_unseen_has_to_be_trained_on(folders) -> None:
    found = report_of(folders, "444", "one-off")  # 15 and 20; 20 is of kind other
    assert [key for key, _ in found.missing] == ["jpeg-qf20"]


def test_an_unseen_task_that_was_trained_on_is_a_problem(folders) -> None:
    found = report_of(folders, "paper", "as-released")
    assert found.train.tasks == 0  # paper is of split test
    train = changed(Manifest.open(folders["paper"]), split="train", kind="seen")
    found = check(train, Manifest.open(folders["as-released"]))
    assert found.problems == ["tested as cross-degree, but they were trained on: jpeg-qf5"]
    test = changed(Manifest.open(folders["as-released"]), kind="cross-type", level="qf7")
    test = changed(test, task="jpeg-qf7")
    (problem,) = check(train, test).problems
    assert problem == "tested as cross-type, but their codec was trained on: jpeg-qf7"


def test_what_differs_is_named_once_for_all_its_tasks(folders) -> None:
    train = changed(Manifest.open(folders["444"]), kind="seen")
    found = check(train, Manifest.open(folders["paper"]))
    assert [m for m in found.mismatches if m.task == "jpeg-qf5"] == [
        Mismatch("jpeg-qf5", "chroma", "444", "420")
    ]
    assert "jpeg-qf5, jpeg-qf10, jpeg-qf15, jpeg-qf25: chroma is 444 in TRAIN, 420 in TEST" in (
        found.problems
    )
    assert not found.alike


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        ("column", "encoder_version", "libjpeg-turbo 0.9"),
        ("column", "weights", "cheng2020-attn-mse-q1"),
        ("column", "weights_sha256", "ab" * 32),
        *(
            ("settings", name, "something else")
            for name in (
                "encoder", "preset", "chroma", "bit_depth", "matrix", "range", "conversion",
                "metric", "architecture",
            )
        ),
    ],
)  # fmt: skip
def test_every_way_to_differ_is_a_problem(folders, where, name, value) -> None:
    train, test = (Manifest.open(folders[key]) for key in ("release", "paper"))
    test = test.filter(task=["jpeg-qf10", "jpeg-qf15"])
    assert not check(train, test).problems
    if where == "column":
        test = changed(test, **{name: value})
    else:
        settings = json.loads(test.table["settings"][0].as_py()) | {name: value}
        test = changed(test, settings=json.dumps(settings))
    (problem,) = check(train, test).problems
    assert problem.startswith(f"jpeg-qf10, jpeg-qf15: {name} is ") and "in TRAIN" in problem


def test_another_device_or_thread_count_is_only_noted(folders) -> None:
    train, test = (Manifest.open(folders[key]) for key in ("release", "paper"))
    test = test.filter(task="jpeg-qf10")
    settings = json.loads(test.table["settings"][0].as_py()) | {"device": "cuda", "threads": 8}
    found = check(train, changed(test, settings=json.dumps(settings)))
    assert not found.problems and found.alike == ("jpeg-qf10",)
    assert "jpeg-qf10: threads is 1 in TRAIN, 8 in TEST" in found.notes


def test_a_task_trained_in_several_ways_is_compared_with_the_nearest(folders) -> None:
    train, test = (Manifest.open(folders[key]) for key in ("release", "paper"))
    test = test.filter(task="jpeg-qf10")
    other = changed(train, encoder_version="another")
    two = Manifest(train.folder, pa.concat_tables([other.table, train.table]), train.metadata)
    assert not check(two, test).problems
    assert check(other, test).problems


def test_an_image_in_both_is_a_leak_whatever_its_name(folders) -> None:
    found = report_of(folders, "release", "leak")
    assert found.leaks == (("release/photo.png", "leak/photo.png"),)
    assert found.problems == ["images in TRAIN and TEST (1): release/photo.png is leak/photo.png"]
    same = report_of(folders, "leak", "leak")
    assert same.problems == ["images in TRAIN and TEST (1): leak/photo.png"]


def test_many_leaks_are_counted_and_some_named(folders) -> None:
    one = Manifest.open(folders["leak"])
    parts = [
        changed(one, **pixels(f"{number:064d}"), hq_path=f"{number}.png") for number in range(9)
    ]
    many = Manifest(one.folder, pa.concat_tables([p.table for p in parts]), one.metadata)
    found = check(many, many)
    assert len(found.leaks) == 9 and found.problems[0].endswith(" and 4 more")


def test_splits_and_failed_rows_do_not_count(folders) -> None:
    train = Manifest.open(folders["both"])
    nothing = check(train, train)
    assert nothing.test.tasks == 0 and not nothing.leaks
    assert nothing.problems == ["TEST has nothing to test: all rows failed or are of split train"]
    test = changed(train, split="test", **pixels("0" * 64))
    both = Manifest(train.folder, pa.concat_tables([train.table, test.table]), train.metadata)
    found = check(both, both)  # one data set with both splits, given twice
    assert not found.problems and found.train.images == found.test.images == 1
    assert len(found.alike) == 6
    failed = check(changed(train, status="error"), test)
    assert failed.problems[0].startswith("TRAIN has nothing to train on")


def test_a_missing_data_set_is_one_sentence(tmp_path) -> None:
    done = CliRunner().invoke(main, ["check", str(tmp_path / "a"), str(tmp_path / "b")])
    assert done.exit_code == 1 and "cirbench: there is no" in done.output


def test_leaks_are_found_between_tiles_photos_and_pieces_others_cut(photos, tmp_path) -> None:
    whole, tiled, pieces = (tmp_path / name for name in ("whole", "tiled", "pieces"))
    cirbench.build(f"other={photos}", codec="jpeg", out=whole, limit=2)
    cirbench.build(photos, codec="jpeg", out=tiled, tile=48, stride=32)
    folder = tmp_path / "cut"
    folder.mkdir()
    rgb = sources.read(photos / "coffee.png").rgb[:48, :48]
    (folder / "one.png").write_bytes(imagecodecs.png_encode(rgb))
    cirbench.build(folder, codec="jpeg", out=pieces)
    one, many, cut_by_others = map(Manifest.open, (whole, tiled, pieces))
    both = (("other/astronaut.png", "photos/astronaut.png"),)
    both += (("other/chelsea.png", "photos/chelsea.png"),)
    assert check(one, many).leaks == both
    assert check(many, one).leaks == tuple((b, a) for a, b in both)
    assert check(many, cut_by_others).leaks == (("photos/coffee.png", "cut/one.png"),)
    assert check(cut_by_others, many).leaks == (("cut/one.png", "photos/coffee.png"),)
    assert check(one, cut_by_others).leaks == ()
    assert check(many, one).train.images == 3


def test_equal_tiles_of_different_photos_are_no_leak(tmp_path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        rgb = np.random.default_rng(seed).integers(0, 256, (16, 32, 3), np.uint8)
        rgb[:, :16] = 255  # the same white sky
        (tmp_path / name / "x.png").write_bytes(imagecodecs.png_encode(rgb))
        cirbench.build(tmp_path / name, codec="jpeg", out=tmp_path / f"{name}-out", tile=16)
    a, b = (Manifest.open(tmp_path / f"{name}-out") for name in ("a", "b"))
    assert set(a.table["hq_sha256"].to_pylist()) & set(b.table["hq_sha256"].to_pylist())
    assert check(a, b).leaks == ()
