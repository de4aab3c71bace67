"""Photos replaced, files cut off, clocks astray, two writers, other versions: noticed and healed.

See docs/faults.md.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest
from faulty import HANG, QUICK, bad_ffmpeg, bad_pids, run, started, wait_for

import cirbench
from cirbench import Manifest, schema
from cirbench.builder import store
from cirbench.codecs import Probe, jpeg
from cirbench.data.reader import Reader
from cirbench.errors import CirbenchError, MismatchError
from cirbench.evaluation import checkpoints
from cirbench.manifest import MismatchWarning
from cirbench.materialize import materialize
from cirbench.verify import verify

FAST = {"codec": ["jpeg", "webp"], "quality": [5, 15]}


def read(folder: Path) -> bytes:
    return (folder / "manifest.parquet").read_bytes()


# -- photos ---


def test_a_replaced_photo_is_noticed_and_its_rows_made_again(photos, tmp_path):
    out, file = tmp_path / "out", photos / "coffee.png"
    cirbench.build(photos, out=out, **FAST)
    cirbench.build(photos, codec="jpeg", quality=[70], out=out)
    rgb = imagecodecs.imread(file)
    file.write_bytes(imagecodecs.png_encode(255 - rgb))
    os.utime(file, ns=(1, 1))
    result = cirbench.build(photos, out=out, **FAST)
    assert (result.made, result.skipped) == (4, 8)
    assert len(Manifest.open(out)) == 14  # the old photo's QF 70 row went with it
    assert verify(out, decode=True).problems == []
    assert not (out / "bitstreams/jpeg/qf70/photos/coffee.jpg").exists()


def test_a_touched_photo_costs_a_hash_but_no_row(photos, tmp_path):
    cirbench.build(photos, out=tmp_path / "out", **FAST)
    before = read(tmp_path / "out")
    os.utime(photos / "coffee.png", ns=(1, 1))
    assert cirbench.build(photos, out=tmp_path / "out", **FAST).made == 0
    assert read(tmp_path / "out") == before


def test_rehash_and_verify_find_a_photo_swapped_with_equal_size_and_time(photos, tmp_path):
    out, file = tmp_path / "out", photos / "swap.bmp"
    rgb = np.zeros((24, 24, 3), np.uint8)
    file.write_bytes(imagecodecs.bmp_encode(rgb))
    stamp = file.stat().st_mtime_ns
    cirbench.build(photos, out=out, **FAST)
    file.write_bytes(imagecodecs.bmp_encode(rgb + np.uint8(9)))
    os.utime(file, ns=(stamp, stamp))
    assert cirbench.build(photos, out=out, **FAST).made == 0
    assert any("swap.bmp" in problem for problem in verify(out).problems)
    assert cirbench.build(photos, out=out, rehash=True, **FAST).made == 4
    assert verify(out).problems == []


def test_a_photo_still_being_copied_is_an_error_row_until_it_is_whole(photos, tmp_path):
    whole = (photos / "coffee.png").read_bytes()
    (photos / "coffee.png").write_bytes(whole[:1000])
    assert cirbench.build(photos, out=tmp_path / "out", **FAST).failed == 1
    (photos / "coffee.png").write_bytes(whole)
    assert cirbench.build(photos, out=tmp_path / "out", **FAST).made == 4
    cirbench.build(photos, out=tmp_path / "straight", **FAST)
    assert read(tmp_path / "out") == read(tmp_path / "straight")


# -- clocks ---


def test_jumping_clocks_and_impossible_times_change_nothing(photos, tmp_path, monkeypatch):
    cirbench.build(photos, out=tmp_path / "straight", **FAST)
    chance = random.Random(0)
    monkeypatch.setattr(time, "time", lambda: chance.uniform(0, 4e9))
    far = (("chelsea.png", 4_000_000_000), ("coffee.png", -1_000_000_000), ("astronaut.png", 0))
    for name, seconds in far:
        os.utime(photos / name, (seconds, seconds))
    out = tmp_path / "out"
    cirbench.build(photos, codec="jpeg", quality=[5, 15], out=out)
    for name in ("manifest.parquet", "journal.sqlite", "timings.parquet"):
        os.utime(out / name, (4_000_000_000, 4_000_000_000))
    cirbench.build(photos, out=out, **FAST)
    assert cirbench.build(photos, out=out, **FAST).skipped == 12
    assert read(out) == read(tmp_path / "straight")


# -- half-written files ---


def cut(file: Path, size: int) -> None:
    """As a share leaves it that went away in the middle of a write."""
    file.write_bytes(file.read_bytes()[:size])


@pytest.mark.parametrize("size", [None, 0, 100, -1])
@pytest.mark.parametrize(
    "name", ["lq/jpeg/qf5/photos/coffee.png", "bitstreams/webp/qf15/photos/coffee.webp"]
)
def test_missing_empty_and_cut_files_are_made_again(name, size, photos, tmp_path):
    out = tmp_path / "out"
    cirbench.build(photos, out=out, **FAST)
    before = read(out)
    (out / name).unlink() if size is None else cut(out / name, size)
    assert any("coffee" in problem for problem in verify(out).problems)
    assert cirbench.build(photos, out=out, **FAST).made == 1
    assert read(out) == before and verify(out, decode=True).problems == []


def test_materialized_pixels_are_watched_too(photos, tmp_path):
    out = tmp_path / "out"
    cirbench.build(photos, out=out, store_mode="bitstream", **FAST)
    materialize(out, "png")
    cut(out / "lq/jpeg/qf5/photos/coffee.png", 100)
    assert cirbench.build(photos, out=out, **FAST).made == 1
    assert verify(out, decode=True).problems == []


def test_leftovers_of_writers_that_died_are_swept_away(photos, tmp_path):
    out = tmp_path / "out"
    cirbench.build(photos, out=out, **FAST)
    before = read(out)
    (out / store.TEMPORARY).mkdir()
    (out / store.TEMPORARY / "0123.host.77").write_bytes(b"half a PNG")
    (out / store.TEMPORARY / "manifest.parquet").write_bytes(b"PAR1 half")
    (photos / "coffee.png.part").write_bytes(b"half a photo")
    result = cirbench.build(photos, out=out, **FAST)
    assert (result.made, result.skipped, result.failed) == (0, 12, 0)
    assert read(out) == before and not (out / store.TEMPORARY).exists()


def test_a_manifest_cut_off_is_named_and_made_again(photos, tmp_path):
    out = tmp_path / "out"
    cirbench.build(photos, out=out, **FAST)
    before = read(out)
    cut(out / "manifest.parquet", len(before) // 2)
    with pytest.raises(CirbenchError, match="damaged or no cirbench manifest"):
        Manifest.open(out)
    assert any("damaged" in problem for problem in verify(out).problems)
    cirbench.build(photos, out=out, **FAST)
    assert read(out) == before and verify(out).problems == []


# -- two writers ---


def test_a_second_writer_is_refused_in_one_sentence(photos, tmp_path):
    out, bad = tmp_path / "out", tmp_path / "bad"
    first = started(
        *("build", photos, "--out", out, *QUICK), IMAGEIO_FFMPEG_EXE=bad_ffmpeg(bad, HANG)
    )
    try:
        wait_for(lambda: bad_pids(bad), "an encoder started")
        second = run("build", photos, "--out", out, *QUICK)
        assert second.returncode == 1
        assert second.stderr == (
            f"cirbench: another cirbench is writing to {out}; wait for it or choose another --out\n"
        )
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()
    assert run("build", photos, "--out", out, *QUICK).returncode == 0  # the lock went with it
    assert verify(out, decode=True).problems == []


# -- other versions ---


def aged(out: Path, version: int, *dropped: str) -> None:
    """The data set as a cirbench of another schema version would have left it."""
    table = pq.read_table(out / "manifest.parquet").drop_columns(list(dropped))
    meta = json.loads(table.schema.metadata[b"cirbench"]) | {"schema_version": version}
    pq.write_table(
        table.replace_schema_metadata({"cirbench": json.dumps(meta)}), out / "manifest.parquet"
    )
    with sqlite3.connect(out / "journal.sqlite") as db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", [str(version)])
        names = [row[1] for row in db.execute("PRAGMA table_info(rows)")]
        if dropped:
            kept = ", ".join(f'"{name}"' for name in names if name not in (*dropped, "lq_bytes"))
            db.execute(f"CREATE TABLE old AS SELECT {kept} FROM rows")
            db.execute("DROP TABLE rows")
            db.execute("ALTER TABLE old RENAME TO rows")
    db.close()


@pytest.mark.parametrize("dropped", [(), ("photo_sha256",), ("photo_sha256", "recipe")])
@pytest.mark.parametrize("keeps_journal", [True, False])
def test_older_data_sets_are_brought_up_to_date(dropped, keeps_journal, photos, tmp_path):
    out = tmp_path / "out"
    (photos / "bad.png").write_text("no image")
    cirbench.build(photos, out=out, **FAST)
    before = read(out)
    aged(out, 1, *dropped)
    if not keeps_journal:
        (out / "journal.sqlite").unlink()
    rows = list(Manifest.open(out))
    assert [*rows[0]] == [*schema.NAMES]
    assert all(row["photo_sha256"] == row["hq_sha256"] for row in rows)
    result = cirbench.build(photos, out=out, **FAST)
    assert (result.made, result.skipped, result.failed) == (0, 12, 1)
    assert read(out) == before and verify(out, decode=True).problems == []


def test_what_cannot_be_filled_in_truthfully_is_refused(photos, tmp_path):
    several = tmp_path / "several"
    cirbench.build(photos, out=several, **FAST)
    cirbench.build(photos, codec="jpeg", recipe_name="quick", out=several)
    aged(several, 1, "photo_sha256", "recipe")
    tiled = tmp_path / "tiled"
    cirbench.build(photos, out=tiled, tile=32, **FAST)
    aged(tiled, 1, "photo_sha256")
    lacking = tmp_path / "lacking"
    cirbench.build(photos, out=lacking, **FAST)
    aged(lacking, 1, "psnr_y")
    for out, why in ((several, "which recipe"), (tiled, "rows of tiles"), (lacking, "psnr_y")):
        before = (out / "journal.sqlite").read_bytes()
        for attempt in (Manifest.open, lambda out: cirbench.build(photos, out=out, **FAST)):
            with pytest.raises(CirbenchError, match=why) as caught:
                attempt(out)
            assert "build it again into another --out" in str(caught.value)
        assert (out / "journal.sqlite").read_bytes() == before


def test_a_newer_data_set_is_refused_and_left_alone(photos, tmp_path):
    out = tmp_path / "out"
    cirbench.build(photos, out=out, **FAST)
    aged(out, schema.SCHEMA_VERSION + 1)
    before = read(out), (out / "journal.sqlite").read_bytes()
    for attempt in (Manifest.open, lambda out: cirbench.build(photos, out=out, **FAST)):
        with pytest.raises(CirbenchError, match="schema version 3.*pip install --upgrade cirbench"):
            attempt(out)
    assert (read(out), (out / "journal.sqlite").read_bytes()) == before


def test_a_migration_killed_in_the_middle_has_changed_nothing(photos, tmp_path, monkeypatch):
    from cirbench.builder import journal

    out = tmp_path / "out"
    cirbench.build(photos, out=out, **FAST)
    wanted = read(out)
    aged(out, 1, "photo_sha256")
    real = sqlite3.connect

    class Dying(sqlite3.Connection):
        def execute(self, sql, *values):
            if sql.startswith("ALTER TABLE"):
                raise KeyboardInterrupt
            return super().execute(sql, *values)

    monkeypatch.setattr(journal.sqlite3, "connect", lambda path: real(path, factory=Dying))
    with pytest.raises(KeyboardInterrupt):
        cirbench.build(photos, out=out, **FAST)
    monkeypatch.setattr(journal.sqlite3, "connect", real)
    assert cirbench.build(photos, out=out, **FAST).skipped == 12
    assert read(out) == wanted


# -- pixels made on read ---


@pytest.fixture
def other_libjpeg(monkeypatch):
    """Call it, and this machine's libjpeg decodes to other pixels than the one of the build."""

    def install() -> None:
        real = jpeg.decode
        monkeypatch.setattr(jpeg, "decode", lambda *given: real(*given) ^ np.uint8(1))
        monkeypatch.setattr(jpeg, "probe", lambda _: Probe(True, "libjpeg 99", "libjpeg 99"))
        # Part of a JPEG is decoded elsewhere.
        monkeypatch.setattr("cirbench.data.reader.top_rows", lambda data, rows: None)

    return install


BOTH = "made with libjpeg-turbo .*, this machine has libjpeg 99"


def test_other_pixels_than_recorded_are_an_error_naming_both_versions(
    photos, tmp_path, other_libjpeg, monkeypatch
):
    monkeypatch.setattr(checkpoints, "shipped", lambda: None)  # the LQ only
    out = tmp_path / "out"
    cirbench.build(photos, codec="jpeg", quality=10, store_mode="bitstream", out=out)
    other_libjpeg()
    data = Manifest.open(out)
    with pytest.raises(MismatchError, match=BOTH):
        data.lq(next(iter(data)))
    results = cirbench.evaluate(out, metrics="psnr", out=tmp_path / "eval", report=False)
    assert len(results.outputs_without_score) == 3
    with pytest.raises(CirbenchError, match="on_mismatch cannot be 'ignore'"):
        Manifest.open(out, on_mismatch="ignore")


def test_on_mismatch_warn_uses_them_and_says_so(photos, tmp_path, other_libjpeg, monkeypatch):
    out, where = tmp_path / "out", {"metrics": "psnr", "out": tmp_path / "eval", "report": False}
    cirbench.build(photos, codec="jpeg", quality=10, store_mode="bitstream", out=out)
    right = cirbench.evaluate(out, **where).scores["value"].to_pylist()
    with monkeypatch.context():
        other_libjpeg()
        data = Manifest.open(out, on_mismatch="warn")
        with pytest.warns(MismatchWarning, match=BOTH):
            pixels = [data.lq(row) for row in data]
        assert [*data.mismatches.values()] == [3] and len(pixels) == 3
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MismatchWarning)
            warned = cirbench.evaluate(out, on_mismatch="warn", **where)
        assert warned.scores["value"].to_pylist() != right
        assert any("--on-mismatch warn" in note for note in warned.tables[0].notes)
        command = ("eval", "--data", out, "--on-mismatch", "warn", "--metrics", "psnr")
        assert run(*command, "--out", tmp_path / "cli").returncode == 0
    monkeypatch.undo()
    again = cirbench.evaluate(out, **where)
    assert again.scores["value"].to_pylist() == right  # never taken from the other decoder's


@pytest.mark.parametrize("box", [None, (8, 8, 16, 16)])
def test_stored_pixels_are_taken_where_the_bitstream_decodes_differently(
    box, photos, tmp_path, other_libjpeg
):
    out = tmp_path / "out"
    cirbench.build(photos, codec="jpeg", quality=10, out=out)
    data = Manifest.open(out)
    top, left, height, width = box or (0, 0, None, None)
    other_libjpeg()
    reader = Reader(data)
    for turn in range(2):  # from the second time on, only the box is decoded
        for index in range(len(data)):
            row = reader.row(index)
            stored = data.lq(row)[top:, left:][:height, :width]
            assert (reader.lq(index, row, box) == stored).all(), turn
