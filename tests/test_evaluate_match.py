"""Which file of a folder of outputs belongs to which row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cirbench.errors import CirbenchError, InputError
from cirbench.evaluation import outputs
from cirbench.evaluation.match import LAYOUTS, match, names


def row(task: str, hq_path: str, set_name: str = "live1", variant: str = "") -> dict:
    codec, level = task.split("-")
    stem = hq_path.rpartition(".")[0]
    folder = f"{level}+{variant}" if variant else level
    return {
        "row_id": f"id-{set_name}-{task}-{stem}-{variant}".replace("/", "_"),
        "content_id": "c",
        "set": set_name,
        "task": task,
        "codec": codec,
        "level": level,
        "level_value": 10,
        "kind": "seen",
        "hq_path": hq_path,
        "bitstream_path": f"bitstreams/{codec}/{folder}/{set_name}/{stem}.bin",
    }


ROWS = [
    row(task, path)
    for task in ("jpeg-qf5", "jpeg-qf10")
    for path in ("bikes.bmp", "sub/sea.bmp", "with.dot.bmp")
]


def touch(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


@pytest.mark.parametrize("layout", [one for one in LAYOUTS if "task" in one or "folder" in one])
@pytest.mark.parametrize("ending", [".png", ".npy", ".TIF"])
def test_usual_layouts_are_recognised(tmp_path, layout, ending):
    touch(tmp_path, *(layout.format(**names(one)) + ending for one in ROWS))
    found = match(tmp_path, ROWS)
    assert not found.problems
    for one in ROWS:
        assert found.paths[one["row_id"]] == tmp_path / (layout.format(**names(one)) + ending)


def test_hq_names_are_enough_for_one_task_and_row_ids_for_any(tmp_path):
    one_task = ROWS[:3]
    touch(tmp_path, "bikes.png", "sub/sea.png", "with.dot.png")
    assert len(match(tmp_path, one_task).paths) == 3
    with pytest.raises(CirbenchError, match="has the name of a row .*--pattern or --csv"):
        match(tmp_path, ROWS)
    touch(tmp_path, *(f"{one['row_id']}.png" for one in ROWS))
    found = match(tmp_path, ROWS)
    assert len(found.paths) == 6
    assert "belong to no evaluated row: 3, such as bikes.png" in found.notes[1]


def test_variants_of_one_task_are_told_apart(tmp_path):
    rows = [row("jpeg-qf5", "a.png"), row("jpeg-qf5", "a.png", variant="chroma=444")]
    touch(tmp_path, "jpeg/qf5/live1/a.png", "jpeg/qf5+chroma=444/live1/a.png")
    assert len(set(match(tmp_path, rows).paths.values())) == 2


def test_missing_and_double_outputs_are_problems_of_their_rows(tmp_path):
    touch(tmp_path, "jpeg-qf5/bikes.png", "jpeg-qf5/bikes.npy", "jpeg-qf10/bikes.png")
    found = match(tmp_path, ROWS)
    assert list(found.paths) == [ROWS[3]["row_id"]]
    assert "two outputs" in found.problems[ROWS[0]["row_id"]]
    assert "looked for jpeg-qf5/sub/sea" in found.problems[ROWS[1]["row_id"]]


def test_patterns(tmp_path):
    touch(tmp_path, "out_qf5_bikes_x4.png", "out_qf10_bikes_x4.png", "out_qf10_bikes_x4.npy")
    found = match(tmp_path, [ROWS[0], ROWS[3]], "./out_{level}_{stem}_x4.png")
    assert len(found.paths) == 2
    for pattern, says in (
        ("{stem}.png", "names one file for several rows"),
        ("{nothing}.png", "field 'nothing'"),
        ("{0}.png", "field '0'"),
        ("{task", "not valid"),
        ("{task}/no_{stem}.png", "no file in .* is called as"),
    ):
        with pytest.raises(CirbenchError, match=says):
            match(tmp_path, ROWS, pattern)


@settings(max_examples=20, deadline=None)
@given(st.text(max_size=20))
def test_any_pattern_gives_a_match_or_one_sentence(tmp_path_factory, pattern):
    folder = touch(tmp_path_factory.getbasetemp() / "any", "jpeg-qf5/bikes.png")
    try:
        match(folder, ROWS, pattern)
    except CirbenchError as error:
        assert str(error)


def test_csv(tmp_path):
    touch(tmp_path, "1.png", "2.png", "3.png")
    ids = [one["row_id"] for one in ROWS]
    table = tmp_path / "which.csv"
    table.write_text(
        f"path,row_id\n1.png,{ids[0]}\n2.png,{ids[1]}\n3.png,{ids[1]}\n9.png,{ids[2]}\n1.png,other\n"
    )
    found = match(tmp_path, ROWS, table=table)
    assert found.paths == {ids[0]: tmp_path / "1.png"}
    assert "two outputs" in found.problems[ids[1]] and "'9.png'" in found.problems[ids[2]]
    assert "no such row_id" in found.problems[ids[3]] and len(found.problems) == 5
    assert "none of the evaluated rows: 1" in found.notes[0]
    table.write_text("name,path\na,b\n")
    with pytest.raises(CirbenchError, match="header with row_id and path"):
        match(tmp_path, ROWS, table=table)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((4, 5)), None),
        (np.zeros((4, 5, 1), np.uint8), None),
        (np.zeros((3, 4, 5), np.float32), r"shape \(3, 4, 5\)"),
        (np.zeros((4, 5, 3), np.int64), "is int64"),
        (np.full((4, 5, 3), 200.0), "float from 200 to 200"),
        (np.full((4, 5, 3), np.inf), "60 NaN or infinite values of 60"),
        (np.array([{}]), "damaged or no array"),
        (np.zeros((0, 5, 3), np.uint8), "shape"),
    ],
)
def test_arrays_that_are_no_images_are_refused(tmp_path, array, says):
    path = tmp_path / "x.npy"
    np.save(path, array, allow_pickle=True)
    if says is None:
        rgb, grey = outputs.read(path)
        assert rgb.shape == (4, 5, 3) and grey
        return
    with pytest.raises(InputError, match=says):
        outputs.read(path)
