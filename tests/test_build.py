"""The whole build on small real photos: what is written, what is skipped, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest

import cirbench
from cirbench import Manifest
from cirbench.builder import store
from cirbench.errors import CirbenchError
from cirbench.schema import ARROW_SCHEMA
from cirbench.verify import verify

FAST = {"codec": ["jpeg", "webp"], "quality": [5, 15]}


def test_every_traditional_codec_end_to_end(photos, tmp_path) -> None:
    out = tmp_path / "out"
    result = cirbench.build(photos, recipe_name="quick", out=out)
    assert (result.made, result.skipped, result.failed) == (21, 0, 0)
    manifest = Manifest.open(out)
    assert len(manifest) == 21 and manifest.table.schema.equals(ARROW_SCHEMA)
    for row in manifest:
        hq, lq = manifest.hq(row), manifest.lq(row)
        assert hq.shape == lq.shape == (row["height"], row["width"], 3)
        assert (lq == manifest.lq(row, stored=False)).all()
        assert row["bitstream_bytes"] == len(manifest.bitstream(row))
        assert row["bpp"] == 8 * row["bitstream_bytes"] / (row["width"] * row["height"])
        assert row["status"] == "ok" and row["set"] == "photos" and row["threads"] == 1
        assert json.loads(row["settings"])["encoder"] == row["encoder"]
    assert verify(out, decode=True).problems == []
    assert manifest.metadata["recipes"][0]["name"] == "quick"
    ids = manifest.table["row_id"].to_pylist()
    assert ids == sorted(set(ids)) == pq.read_table(out / "timings.parquet")["row_id"].to_pylist()
    assert not (out / store.TEMPORARY).exists()


def test_lq_files_lie_where_restoration_code_looks(photos, tmp_path) -> None:
    cirbench.build(photos, codec="jpeg", quality=[10], out=tmp_path / "out")
    found = sorted(p.name for p in (tmp_path / "out/lq/jpeg/qf10/photos").iterdir())
    assert found == ["astronaut.png", "chelsea.png", "coffee.png"]


def test_a_second_build_only_adds_what_is_missing(photos, tmp_path) -> None:
    out = tmp_path / "out"
    cirbench.build(photos, out=out, **FAST)
    before = (out / "manifest.parquet").stat().st_mtime_ns
    again = cirbench.build(photos, out=out, **FAST)
    assert (again.made, again.skipped) == (0, 12)
    assert (out / "manifest.parquet").stat().st_mtime_ns == before
    more = cirbench.build(photos, codec="jpeg", quality=[5, 50], out=out)
    assert (more.made, more.skipped) == (3, 3)
    assert len(Manifest.open(out)) == 15


def test_one_build_and_two_give_the_same_manifest(photos, tmp_path) -> None:
    cirbench.build(photos, out=tmp_path / "a", jobs=1, **FAST)
    cirbench.build(photos, codec="jpeg", quality=[5, 15], out=tmp_path / "b", jobs=2)
    cirbench.build(photos, codec="webp", quality=[5, 15], out=tmp_path / "b", jobs=3)
    assert read(tmp_path / "a") == read(tmp_path / "b")


def read(folder: Path) -> bytes:
    return (folder / "manifest.parquet").read_bytes()


def test_variants_of_a_task_live_side_by_side(photos, tmp_path) -> None:
    out = tmp_path / "out"
    for chroma in ("420", "444"):
        cirbench.build(photos, codec="jpeg", quality=[10], chroma=chroma, out=out)
    manifest = Manifest.open(out)
    assert {row["variant"] for row in manifest} == {"", "chroma=444"}
    assert len({row["lq_path"] for row in manifest}) == len(manifest) == 6
    assert verify(out, decode=True).problems == []


def test_equal_stems_and_equal_folder_names_never_overwrite(photos, tmp_path) -> None:
    rgb = imagecodecs.imread(photos / "coffee.png")
    (photos / "coffee.bmp").write_bytes(imagecodecs.bmp_encode(rgb[:30]))
    other = tmp_path / "other" / "photos"
    other.mkdir(parents=True)
    (other / "coffee.png").write_bytes(imagecodecs.png_encode(rgb[::-1]))
    out = tmp_path / "out"
    result = cirbench.build([photos, other], codec="jpeg", quality=[10], out=out)
    assert result.made == 5
    assert len({row["lq_path"].casefold() for row in Manifest.open(out)}) == 5
    assert verify(out, decode=True).problems == []


def test_bad_images_give_one_error_row_each_and_the_rest_goes_on(photos, tmp_path) -> None:
    whole = (photos / "chelsea.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "text.png").write_text("not an image")
    out = tmp_path / "out"
    result = cirbench.build(photos, out=out, **FAST)
    assert (result.made, result.failed) == (12, 3)
    failed = Manifest.open(out).filter(status="error")
    assert sorted(row["hq_path"] for row in failed) == ["cut.png", "empty.jpg", "text.png"]
    assert all(row["task"] is None and row["hq_path"] in row["error"] for row in failed)
    assert len(Manifest.open(out).usable) == 12

    (photos / "cut.png").write_bytes(whole)  # repaired
    (photos / "empty.jpg").unlink()
    again = cirbench.build(photos, out=out, **FAST)
    assert (again.made, again.failed) == (4, 1)
    assert [r["hq_path"] for r in Manifest.open(out).filter(status="error")] == ["text.png"]


def test_max_failures_stops_the_build_and_keeps_what_is_done(photos, tmp_path) -> None:
    for number in range(5):
        (photos / f"a{number}.png").write_bytes(b"no")
    with pytest.raises(CirbenchError, match="stopped after 3 failures"):
        cirbench.build(photos, out=tmp_path / "out", max_failures=2, jobs=1, **FAST)
    assert len(Manifest.open(tmp_path / "out").filter(status="error")) == 3


@pytest.mark.parametrize("mode", ["copy", "link"])
def test_hq_images_can_travel_with_the_data_set(mode, photos, tmp_path) -> None:
    out = tmp_path / "out"
    cirbench.build(photos, out=out, hq=mode, **FAST)
    cirbench.build(photos, out=tmp_path / "ref", **FAST)
    assert read(out) == read(tmp_path / "ref")
    if mode == "copy":
        shutil.rmtree(photos)
        out = out.rename(tmp_path / "moved")
    assert verify(out).problems == []


def test_hq_roots_can_be_given_when_photos_move(photos, tmp_path) -> None:
    out = tmp_path / "out"
    cirbench.build(photos, out=out, **FAST)
    moved = photos.rename(tmp_path / "elsewhere")
    assert len(verify(out).problems) == 3
    assert verify(out, hq_roots={"photos": moved}).problems == []
    (out / "roots.toml").unlink()
    row = next(iter(Manifest.open(out)))
    with pytest.raises(CirbenchError, match="--hq-root photos=FOLDER"):
        Manifest.open(out).hq(row)


def test_store_and_hq_modes_of_a_data_set_cannot_change_by_accident(photos, tmp_path) -> None:
    out = tmp_path / "out"
    cirbench.build(photos, out=out, store_mode="bitstream", **FAST)
    assert not (out / "lq").exists()
    assert cirbench.build(photos, out=out, **FAST).skipped == 12  # no --store: the set's own
    with pytest.raises(CirbenchError, match="--store bitstream, this build says --store png"):
        cirbench.build(photos, out=out, store_mode="png", **FAST)


def test_one_set_name_for_two_folders_is_refused(photos, tmp_path) -> None:
    out, other = tmp_path / "out", tmp_path / "b" / "photos"
    shutil.copytree(photos, other)
    cirbench.build(photos, out=out, **FAST)
    with pytest.raises(CirbenchError, match=f"photos2={other}"):
        cirbench.build(other, out=out, **FAST)
    assert cirbench.build(f"photos2={other}", out=out, **FAST).made == 12
    manifest = Manifest.open(out)
    assert len(manifest) == 24 and len(set(manifest.table["content_id"].to_pylist())) == 12


def test_another_encoder_version_is_refused_instead_of_mixed(photos, tmp_path, monkeypatch) -> None:
    from cirbench.codecs import Probe, jpeg

    out = tmp_path / "out"
    cirbench.build(photos, out=out, **FAST)
    monkeypatch.setattr(jpeg, "probe", lambda settings: Probe(True, "libjpeg 99", "libjpeg 99"))
    with pytest.raises(
        CirbenchError, match="made with libjpeg-turbo .*, this machine has libjpeg 99"
    ):
        cirbench.build(photos, out=out, codec="jpeg", quality=[30])


def test_a_flat_photo_is_a_warning_not_an_error(tmp_path) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    grey = np.full((32, 32, 3), 128, np.uint8)
    (folder / "grey.png").write_bytes(imagecodecs.png_encode(grey))
    cirbench.build(folder, codec="jpeg", quality=[10], out=tmp_path / "out")
    (row,) = Manifest.open(tmp_path / "out")
    assert row["status"] == "warning" and row["note"] == "LQ equals HQ"
    assert row["psnr_rgb"] == float("inf")


def test_a_bitstream_at_the_wrong_level_becomes_an_error_row(photos, tmp_path, monkeypatch) -> None:
    from dataclasses import replace

    from cirbench.codecs import video

    wrong = replace(video._ENCODERS["x264"], options={"qp": "{qp}"})  # the obvious command
    monkeypatch.setitem(video._ENCODERS, "x264", wrong)
    result = cirbench.build(photos, codec="avc", qp=[37], out=tmp_path / "out", jobs=1)
    assert result.failed == 3
    errors = {row["error"] for row in Manifest.open(tmp_path / "out")}
    assert errors == {"asked avc for qp37, the bitstream says qp34"}


def test_an_unwritable_folder_is_one_clear_sentence(photos, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CirbenchError, match="choose another --out"):
        cirbench.build(photos, out=tmp_path / "file" / "out", **FAST)
