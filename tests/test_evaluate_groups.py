"""cirbench eval with a metric of whole groups of images (FID): a stand-in, so without weights."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_evaluate import copy_lq, data, evaluate, values

from cirbench import metrics
from cirbench.errors import CirbenchError
from cirbench.evaluation import checkpoints
from cirbench.metrics.fid import FewImagesWarning

__all__ = ["data"]


@pytest.fixture(autouse=True)
def nothing_shipped(monkeypatch):
    monkeypatch.setattr(checkpoints, "shipped", lambda: None)


@pytest.fixture
def counted(monkeypatch) -> list[int]:
    """Registers a stand-in of FID; collects the number of images of every call."""
    counts: list[int] = []

    def score(restored, hq, memo):
        file = Path(memo["fid-file"])
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(repr(float(np.mean([image.mean() for image in hq]))))
        means = [image.mean() for image in restored]
        counts.append(len(means))
        warnings.warn("few images", FewImagesWarning, stacklevel=1)
        return abs(float(np.mean(means)) - float(file.read_text()))

    fake = replace(metrics.get("fid"), problem=lambda: "", score=score)
    known = {name: metrics.get(name) for name in metrics.names()} | {"fid": fake}
    monkeypatch.setattr(metrics, "_by_name", lambda: known)
    return counts


def test_there_is_one_value_per_set_and_task_and_bad_outputs_are_skipped(data, tmp_path, counted):
    results = evaluate(data, tmp_path / "out", metrics="fid")
    rows = results.scores.to_pylist()
    assert sorted(row["task"] for row in rows) == ["jpeg-qf10", "webp-qf10"]
    assert all(row["row_id"].startswith("group:") and row["hq_path"] == "" for row in rows)
    assert counted == [3, 3]
    evaluate(data, tmp_path / "out", metrics="fid")
    assert counted == [3, 3]  # journaled
    copy_lq(data, tmp_path / "theirs")[0].write_bytes(b"no image")
    for _ in range(2):
        found = evaluate(data, tmp_path / "out", restored=tmp_path / "theirs", metrics="fid")
        assert found.missing == 1
        assert len(values(found.scores, model="theirs")) == 2


def test_the_number_of_images_is_told_by_every_run(data, tmp_path, counted):
    for _ in range(2):
        found = evaluate(data, tmp_path / "out", metrics="fid")
        assert any("each value is about 3 images" in note for note in found.tables[0].notes)
    ids = {row["row_id"] for row in found.scores.to_pylist()}
    few = evaluate(data, tmp_path / "out", metrics="fid", limit=2)
    assert not ids & {row["row_id"] for row in few.scores.to_pylist()}


def test_statistics_of_the_photos_are_made_once_for_all_tasks(data, tmp_path, counted):
    evaluate(data, tmp_path / "out", metrics="fid")
    assert len(list((tmp_path / "out" / "statistics").iterdir())) == 1


def test_a_report_can_be_about_groups_alone(data, tmp_path, counted):
    evaluate(data, tmp_path / "out", metrics="fid", model="identity", report=True)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "FID RGB" in page and "No metric scores single images" in page


def test_without_a_metric_that_runs_here_the_error_says_what_is_missing(
    data, tmp_path, monkeypatch
):
    lacking = replace(metrics.get("fid"), problem=lambda: "FID needs the weights fid-inception")
    known = {name: metrics.get(name) for name in metrics.names()} | {"fid": lacking}
    monkeypatch.setattr(metrics, "_by_name", lambda: known)
    for report in (True, False):
        with pytest.raises(CirbenchError, match="fid-inception"):
            evaluate(data, tmp_path / "out", metrics="fid", report=report)
    assert not (tmp_path / "out").exists()
