"""Data sets of tiles: each one an image of its own, all of them one photo."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import imagecodecs
import pytest
from click.testing import CliRunner

import cirbench
from cirbench import Manifest, sources
from cirbench.cli import main
from cirbench.errors import CirbenchError
from cirbench.materialize import materialize
from cirbench.tiles import Box, tiling
from cirbench.verify import verify

FAST = {"codec": ["jpeg", "webp"], "quality": [5, 15]}


def build(photos: Path | str, out: Path, **wanted: object) -> cirbench.builder.build.Result:
    return cirbench.build(photos, out=out, **FAST | {"tile": 48, "stride": 32} | wanted)


def read(folder: Path) -> bytes:
    return (folder / "manifest.parquet").read_bytes()


@pytest.mark.parametrize(("side", "stride"), [(None, 8), (0, None), (8, 0), (8, 9)])
def test_tilings_that_cannot_be_are_refused(side, stride, photos, tmp_path) -> None:
    with pytest.raises(CirbenchError, match="tile"):
        tiling(side, stride)
    with pytest.raises(CirbenchError, match="tile"):
        build(photos, tmp_path / "out", tile=side, stride=stride)
    assert not (tmp_path / "out").exists()


def test_every_tile_is_an_image_of_its_own(photos, tmp_path) -> None:
    out = tmp_path / "out"
    result = build(photos, out)
    assert (result.made, result.failed) == (4 * 14, 0)  # 3 x 2, 2 x 2 and 2 x 2 tiles
    data = Manifest.open(out)
    for row in data:
        box = Box.parse(row["tile"])
        photo = sources.read(photos / row["hq_path"]).rgb
        hq = photo[box.y : box.y + box.height, box.x : box.x + box.width]
        assert (data.hq(row) == hq).all() and (row["width"], row["height"]) == box[2:]
        assert row["hq_sha256"] == hashlib.sha256(hq.tobytes()).hexdigest()
        assert row["photo_sha256"] == hashlib.sha256(photo.tobytes()).hexdigest()
        assert (data.lq(row) == data.lq(row, stored=False)).all()
        stem = Path(row["hq_path"]).stem
        assert row["lq_path"].endswith(f"/photos@48/{stem}_{box.x}_{box.y}.png")
    found = {(row["hq_path"], row["tile"]) for row in data}
    assert len(found) == 14
    assert {tile for path, tile in found if path == "coffee.png"} == {
        *("0,0,48,48", "17,0,48,48", "0,1,48,48", "17,1,48,48")
    }
    assert verify(out, decode=True).problems == []


def test_photos_smaller_than_a_tile_stay_in_one_piece(photos, tmp_path) -> None:
    build(photos, tmp_path / "out", tile=512, stride=None)
    build(photos, tmp_path / "whole", tile=None, stride=None)
    rows, whole = ([*Manifest.open(tmp_path / name)] for name in ("out", "whole"))
    tile = {row["hq_path"]: row["tile"] for row in rows}["coffee.png"]
    assert len(rows) == 12 and tile == "0,0,65,49"
    assert {row["content_id"] for row in rows} == {row["content_id"] for row in whole}
    assert not {row["row_id"] for row in rows} & {row["row_id"] for row in whole}


def test_a_tile_is_coded_like_a_photo_of_its_pixels(photos, tmp_path) -> None:
    """The same bytes and content_id as a file that another program cut."""
    build(photos, tmp_path / "tiles")
    row = next(row for row in Manifest.open(tmp_path / "tiles") if row["tile"] == "32,0,48,48")
    folder = tmp_path / "cut"
    folder.mkdir()
    hq = Manifest.open(tmp_path / "tiles").hq(row)
    (folder / "piece.png").write_bytes(imagecodecs.png_encode(hq))
    build(folder, tmp_path / "cut-out", tile=None, stride=None)
    (same,) = Manifest.open(tmp_path / "cut-out").filter(content_id=row["content_id"])
    assert same["bitstream_sha256"] == row["bitstream_sha256"]
    assert same["lq_sha256"] == row["lq_sha256"]


def test_tiles_and_whole_photos_live_in_one_data_set(photos, tmp_path) -> None:
    out = tmp_path / "out"
    build(photos, out)
    assert build(photos, out, tile=None, stride=None).made == 12
    again = build(photos, out, tile=32, stride=32)
    sizes = [(row["tile"] or "").split(",")[2:] for row in Manifest.open(out)]
    assert sizes.count([]) == 12 and sizes.count(["48", "48"]) == 56
    assert again.made == sizes.count(["32", "32"]) == 4 * (6 + 6 + 6)
    assert build(photos, out, stride=48).made < 56 - 8  # tiles of both strides are made once
    assert verify(out, decode=True).problems == []
    assert len({row["lq_path"].casefold() for row in Manifest.open(out)}) == len(Manifest.open(out))


def test_jobs_order_and_interruptions_do_not_show(photos, tmp_path) -> None:
    build(photos, tmp_path / "a", jobs=1)
    build(photos, tmp_path / "b", codec="webp", limit=2, jobs=3)
    assert build(photos, tmp_path / "b", jobs=2).skipped == 2 * 10
    assert read(tmp_path / "a") == read(tmp_path / "b")
    before = (tmp_path / "b/manifest.parquet").stat().st_mtime_ns
    assert build(photos, tmp_path / "b").made == 0
    assert (tmp_path / "b/manifest.parquet").stat().st_mtime_ns == before


def test_a_photo_is_decoded_once_for_all_its_tiles_and_tasks(photos, tmp_path, monkeypatch) -> None:
    calls: list[str] = []
    real = sources.read

    def counted(file: Path) -> sources.HQImage:
        calls.append(file.name)
        return real(file)

    monkeypatch.setattr(sources, "read", counted)
    build(photos, tmp_path / "out", jobs=2)
    assert sorted(calls) == sorted(2 * [p.name for p in photos.iterdir()])  # measured, then coded
    calls.clear()
    build(photos, tmp_path / "out", jobs=2)
    assert calls == []
    data = Manifest.open(tmp_path / "out")
    for row in data.filter(hq_path="coffee.png"):
        hq = data.hq(row)
        hq[:] = 0  # the caller's own: the next tile is not spoilt
    assert calls == ["coffee.png"]
    verify(tmp_path / "out", jobs=1)
    assert len(calls) == 1 + 3


def test_killed_builds_of_tiles_go_on(_originals, tmp_path) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    line = [sys.executable, "-m", "cirbench", "build", str(_originals), "--tile", "32"]
    line += ["--codec", "jpeg,webp,avc", "--qp", "42", "--quality", "5,15", "--jobs", "2", "--out"]
    subprocess.run([*line, str(whole)], check=True, capture_output=True)
    kills = 0
    for files in (3, 30, 60):  # of 90
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([*line, str(out)], **quiet)
        while process.poll() is None and len(list(out.glob("bitstreams/*/*/*/*"))) < files:
            time.sleep(0.005)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
    subprocess.run([*line, str(out)], check=True, capture_output=True)
    assert kills and read(out) == read(whole)
    assert verify(out, decode=True).problems == []


def test_a_replaced_photo_takes_all_its_tiles_with_it(photos, tmp_path) -> None:
    out, file = tmp_path / "out", photos / "coffee.png"
    build(photos, out)
    file.write_bytes(imagecodecs.png_encode(255 - sources.read(file).rgb[:40, :40]))
    os.utime(file, ns=(1, 1))
    problems = verify(out).problems
    assert problems and all("coffee.png" in problem for problem in problems)
    assert (build(photos, out).made, len(Manifest.open(out))) == (4, 4 * 11)
    assert verify(out, decode=True).problems == []
    assert len(list((out / "bitstreams/jpeg/qf5/photos@48").iterdir())) == 11


def test_a_bad_photo_is_one_error_row_and_no_tile(photos, tmp_path) -> None:
    (photos / "cut.png").write_bytes((photos / "coffee.png").read_bytes()[:500])
    out = tmp_path / "out"
    result = build(photos, out)
    assert (result.made, result.failed) == (56, 1)
    (row,) = Manifest.open(out).filter(status="error")
    assert row["hq_path"] == "cut.png" and row["tile"] is None
    shutil.copy(photos / "coffee.png", photos / "cut.png")
    assert build(photos, out).made == 16
    assert not len(Manifest.open(out).filter(status="error"))


@pytest.mark.parametrize("mode", ["copy", "link"])
def test_hq_photos_of_tiles_can_travel_with_the_data_set(mode, photos, tmp_path) -> None:
    out = tmp_path / "out"
    build(photos, out, hq=mode)
    build(photos, tmp_path / "ref")
    assert read(out) == read(tmp_path / "ref")
    (out / "hq/photos/coffee.png").unlink()
    assert build(photos, out).made == 0  # and healed
    if mode == "copy":
        shutil.rmtree(photos)
        out = out.rename(tmp_path / "moved")
    assert verify(out).problems == []


def test_a_lost_journal_of_tiles_is_made_again(photos, tmp_path) -> None:
    out = tmp_path / "out"
    build(photos, out)
    before = read(out)
    (out / "journal.sqlite").unlink()
    result = build(photos, out)
    assert (result.made, result.skipped) == (0, 56) and read(out) == before
    assert build(photos, out, tile=None, stride=None).made == 12
    assert (out / "lq/jpeg/qf5/photos/coffee.png").exists()


def test_stores_of_tiles_convert_into_each_other(photos, tmp_path) -> None:
    out = tmp_path / "out"
    build(photos, out, store_mode="bitstream")
    build(photos, tmp_path / "png")
    assert materialize(out, "png") == (56, 0)
    assert read(out) == read(tmp_path / "png")
    assert verify(out, decode=True).problems == []
    assert materialize(out, "bitstream-only") == (0, 56)


def test_all_tiles_of_a_photo_are_in_one_split(photos, tmp_path) -> None:
    out = tmp_path / "out"
    build(photos, out, split="train")
    build(photos, out, tile=None, stride=None)
    assert {row["split"] for row in Manifest.open(out)} == {"train"}
    build(photos / "coffee.png", out, set_name="photos", tile=32, stride=16, split="test")
    splits = {(row["hq_path"], row["split"]) for row in Manifest.open(out)}
    wanted = {("astronaut.png", "train"), ("chelsea.png", "train"), ("coffee.png", "test")}
    assert splits == wanted


def test_a_wrong_photo_hash_is_noticed(photos, tmp_path) -> None:
    from cirbench import __version__, manifest
    from cirbench.builder.journal import Journal

    out = tmp_path / "out"
    build(photos, out)
    with Journal(out) as journal:
        journal.update(Manifest.open(out).table["row_id"][0].as_py(), photo_sha256="0" * 64)
        manifest.write(out, journal, __version__)
    (problem,) = verify(out).problems
    assert "photo_sha256 differs" in problem


def test_an_open_manifest_can_be_sent_to_another_process(photos, tmp_path) -> None:
    build(photos, tmp_path / "out")
    data = Manifest.open(tmp_path / "out")
    rows = list(data)
    first = data.hq(rows[0])
    assert (pickle.loads(pickle.dumps(data)).hq(rows[0]) == first).all()


def test_a_journal_with_other_columns_is_refused(tmp_path, photos) -> None:
    import sqlite3

    out = tmp_path / "out"
    build(photos, out)
    with sqlite3.connect(out / "journal.sqlite") as database:
        database.execute("ALTER TABLE rows DROP COLUMN photo_sha256")
    with pytest.raises(CirbenchError, match="lacks the column photo_sha256"):
        build(photos, out)


def run(*args: object, code: int = 0) -> str:
    done = CliRunner().invoke(main, [str(arg) for arg in args])
    assert done.exit_code == code, done.output
    return done.output


def test_the_command_line_cuts_counts_and_shows_tiles(photos, tmp_path) -> None:
    out = tmp_path / "out"
    line = ["build", photos, "--codec", "jpeg", "--qf", "5", "--out", out]
    text = run(*line, "--tile", 48, "--stride", 32, "--dry-run")
    assert "3 images cut into 14 tiles (0.0 MP) x 1 tasks = 14 rows" in text
    text = run(*line, "--tile", 48, "--stride", 32)
    assert re.search(r"jpeg +qf5 +seen +14 ", text) and "14 rows made" in text
    assert (out / "contact_sheet.png").exists()
    assert "stride cannot be 64; it is 1 to 48" in run(*line, "--tile=48", "--stride=64", code=1)
    text = run("show", out, "--image", "coffee", code=1)
    assert "'coffee' names 4 tiles" in text and "photos/coffee.png@0,0,48,48" in text
    text = run("show", out, "--image", "coffee@17,1,48,48")
    assert text.strip().endswith("strips/photos/coffee@17,1,48,48.png")
    run(*line)
    assert run("show", out, "--image", "coffee").strip().endswith("photos/coffee.png")
    assert re.search(r"jpeg +17 +17 ", run("stats", out))
    assert run("verify", out, "--decode").strip().endswith("0 problems")
