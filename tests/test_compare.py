"""cirbench eval --compare: finished evaluations in one table."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from test_evaluate_tables import scores

from cirbench import cli
from cirbench.errors import CirbenchError
from cirbench.evaluation import compare, files
from cirbench.evaluation.schema import SCORES_SCHEMA


def save(folder: Path, table: pa.Table, **facts: object) -> Path:
    folder.mkdir()
    meta = {"cirbench": json.dumps({"cirbench_version": "0"} | facts)}
    pq.write_table(table.replace_schema_metadata(meta), folder / files.SCORES)
    return folder


def fids(models: tuple[str, ...], group: str) -> pa.Table:
    """One FID of one group per model."""
    rows = [
        scores(models=(model,), images=1).to_pylist()[0]
        | {"row_id": f"group:live1/jpeg-qf5//{group}", "hq_path": "", "metric": "fid"}
        | {"protocol": "native-rgb", "value": 9.0}
        for model in models
    ]
    return pa.Table.from_pylist(rows, schema=SCORES_SCHEMA)


def test_evaluations_are_compared_over_their_common_rows(tmp_path):
    one = save(tmp_path / "one", scores(models=("LQ", "net")))
    two = save(tmp_path / "two", scores(models=("LQ", "net"), images=4))
    found = compare.compare([one, two], out=tmp_path / "both")
    assert {row[1].text for row in found[0].rows} == {"LQ", "net", "net (two)"}
    assert found[0].rows[0][2].images == 4
    assert found[0].notes[-1] == "rows that not all models have, left out: 5"
    assert found[-1].columns[4].title == "minus net"
    for path in compare.written(tmp_path / "both"):
        assert path.stat().st_size
    done = CliRunner().invoke(
        cli.main, ["eval", "--compare", str(one), str(two), "--metrics", "psnr", "--by", "kind"]
    )
    assert done.exit_code == 0 and "net (two)" in done.output and "LPIPS" not in done.output


def test_other_lq_images_and_problems_of_the_files_are_noted(tmp_path):
    one = save(tmp_path / "one", scores(models=("LQ", "a")))
    two = save(
        tmp_path / "two",
        scores(models=("LQ", "b"), shift=0.1),
        problems=["b, live1/x.png: missing", "2", "3", "4"],
    )
    notes = compare.compare([one, two])[0].notes
    assert sum("made from other LQ images" in note and "25 have" in note for note in notes) == 1
    assert f"{two}: b, live1/x.png: missing" in notes
    assert f"{two}: problems that are not shown: 1" in notes
    close = save(tmp_path / "close", scores(models=("LQ", "b"), shift=1e-4))
    assert not any("other LQ" in note for note in compare.compare([one, close])[0].notes)


def test_values_of_groups_of_other_images_are_left_out(tmp_path):
    one = pa.concat_tables([scores(models=("LQ", "a")), fids(("LQ", "a"), "5-0a")])
    same = pa.concat_tables([scores(models=("LQ", "b")), fids(("LQ", "b"), "5-0a")])
    other = pa.concat_tables([scores(models=("LQ", "b")), fids(("LQ", "b"), "4-0b")])
    folders = [save(tmp_path / str(i), table) for i, table in enumerate((one, same, other))]
    shown = compare.compare(folders[:2])[0]
    assert "FID RGB ↓" in [column.title for column in shown.columns]
    assert any(note.startswith("FID RGB ↓: each value is about 5 images") for note in shown.notes)
    shown = compare.compare([folders[0], folders[2]])[0]
    assert "FID RGB ↓" not in [column.title for column in shown.columns]
    assert shown.notes[-1] == "rows that not all models have, left out: 2"


def test_rows_can_be_chosen_and_what_does_nothing_is_refused(tmp_path):
    folders = [str(save(tmp_path / name, scores(models=("LQ", name)))) for name in "ab"]
    done = CliRunner().invoke(cli.main, ["eval", "--compare", *folders, "--codec", "vvc"])
    assert done.exit_code == 0 and "vvc" in done.output and "jpeg" not in done.output
    for wrong in (["--limit", "1"], ["--restored", "x"], ["--split", "train"]):
        done = CliRunner().invoke(cli.main, ["eval", "--compare", *folders, *wrong])
        assert done.exit_code == 2 and f"{wrong[0]} does nothing with --compare" in done.output
    with pytest.raises(CirbenchError, match="none of the files has the codec 'jpg'"):
        compare.compare([*map(Path, folders)], where={"codec": ["jpg"]})


def test_evaluations_that_cannot_be_compared_say_so(tmp_path):
    one = save(tmp_path / "one", scores())
    other = save(tmp_path / "other", scores(sets=("else",)))
    for paths, says in (
        ([one], "two evaluations or more"),
        ([one, other], "no row and metric in common"),
        ([one, tmp_path / "none"], "does not exist"),
    ):
        with pytest.raises(CirbenchError, match=says):
            compare.compare(paths)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(CirbenchError, match="damaged or no cirbench scores"):
        compare.compare([one, tmp_path / "bad.parquet"])


@pytest.mark.parametrize(("column", "value"), [("kind", "heard"), ("protocol", "native-rgb")])
def test_files_with_foreign_kinds_and_protocols_are_refused(tmp_path, column, value):
    one = save(tmp_path / "one", scores())
    table = scores()  # PSNR-like rows under native-y and LPIPS; neither kind nor name is known
    rows = [row | {"metric": "gmsd", column: value} for row in table.to_pylist()]
    other = save(tmp_path / "other", pa.Table.from_pylist(rows, schema=SCORES_SCHEMA))
    with pytest.raises(CirbenchError, match="no cirbench scores"):
        compare.compare([one, other])
