"""Strange folders, names, files and arguments: one clear sentence, nothing lost, no traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from click.testing import CliRunner, Result

import cirbench
from cirbench import Manifest
from cirbench.cli import main
from cirbench.errors import CirbenchError
from cirbench.verify import verify

JPEG = {"codec": "jpeg", "quality": 5}


def cli(*args: object) -> Result:
    """A command in this process: user errors exit, anything else would be a traceback."""
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def build(source: Path, out: Path, *options: object) -> Result:
    return cli("build", source, "--codec", "jpeg", "--qf", "5", "--out", out, *options)


def test_a_photo_too_large_for_a_codec_is_one_error_row(photos, tmp_path) -> None:
    wide = np.zeros((2, 17000, 3), np.uint8)  # WebP ends at 16,383 pixels
    (photos / "wide.png").write_bytes(imagecodecs.png_encode(wide))
    out = tmp_path / "out"
    result = cli("build", photos, "--codec", "webp", "--qf", "5", "--out", out)
    assert result.exit_code == 3 and "libwebp cannot code 17000x2" in result.output
    assert len(Manifest.open(out).usable) == 3


def test_a_data_set_inside_its_source_is_no_source(photos) -> None:
    for _ in range(2):
        cirbench.build(photos, out=photos / "data" / "cir", **JPEG)
    assert len(Manifest.open(photos / "data" / "cir")) == 3


def test_a_lost_journal_is_made_again_from_the_manifest(photos, tmp_path) -> None:
    out = tmp_path / "out"
    (photos / "bad.png").write_text("no image")
    cirbench.build(photos, out=out, store_mode="bitstream", **JPEG)
    before = (out / "manifest.parquet").read_bytes()
    (out / "journal.sqlite").unlink()
    again = cirbench.build(photos, out=out, **JPEG)
    assert (again.made, again.skipped, again.failed) == (0, 3, 1)
    assert (out / "manifest.parquet").read_bytes() == before
    cirbench.build(photos, codec="webp", quality=5, out=out)
    assert len(Manifest.open(out)) == 7 and verify(out, decode=True).problems == []


def test_a_photo_is_never_in_two_splits(photos, tmp_path) -> None:
    out = tmp_path / "out"
    cirbench.build(photos, split="train", out=out, **JPEG)
    cirbench.build(photos, codec="webp", quality=5, out=out)
    assert {row["split"] for row in Manifest.open(out)} == {"train"}
    cirbench.build(photos / "coffee.png", codec="avc", qp=40, split="test", out=out)
    splits = {(row["hq_path"], row["split"]) for row in Manifest.open(out)}
    assert splits == {("coffee.png", "test"), ("chelsea.png", "train"), ("astronaut.png", "train")}


def test_kinds_and_numbers_say_which_recipe_they_are_of(photos, tmp_path) -> None:
    out = tmp_path / "out"
    cirbench.build(photos, codec="jpeg", out=out)
    cirbench.build(photos, codec="jpeg", recipe_name="quick", out=out)
    found = {(r["level"], r["recipe"], r["kind"], r["task_id"]) for r in Manifest.open(out)}
    assert found == {
        ("qf5", "paper", "seen", 0),
        ("qf10", "paper", "seen", 1),
        ("qf15", "paper", "seen", 2),
        ("qf25", "paper", "cross-degree", None),
    }


def test_odd_folder_names_are_only_names(photos, tmp_path) -> None:
    for name in ("\U0001f600 smile", "a+b=c %20", "x\x7fy", "-rf"):
        folder = shutil.copytree(photos, tmp_path / name)
        out = tmp_path / f"out of {name}"
        assert build(folder.absolute(), out).exit_code == 0
        assert verify(out).problems == []


def test_the_sample_photos_keep_their_name(photos, tmp_path) -> None:
    result = build(photos.rename(tmp_path / "sample"), tmp_path / "out")
    assert result.exit_code == 1 and "name yours: mine=" in result.output
    assert build(f"mine={tmp_path / 'sample'}", tmp_path / "out").exit_code == 0


def test_very_long_names_and_folders_called_like_files(photos, tmp_path) -> None:
    (photos / "chelsea.png").rename(photos / ("y" * 251 + ".png"))
    (photos / "astronaut.png").rename(photos / "a.png")
    (photos / "a.png.d").mkdir()
    (photos / "b.png").mkdir()
    (photos / "coffee.png").rename(photos / "b.png" / "b.png")
    shutil.copy(photos / "a.png", photos / "b.jpg")
    out = tmp_path / "out"
    assert build(photos, out).exit_code == 0
    assert len(Manifest.open(out)) == 4 and verify(out, decode=True).problems == []


def test_an_out_folder_that_looks_like_an_address(photos, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert build(photos, Path("x:y")).exit_code == 0
    assert cli("verify", "x:y").exit_code == 0


def test_photos_of_another_set_may_be_away(photos, tmp_path) -> None:
    other = shutil.copytree(photos, tmp_path / "other")
    build(photos, tmp_path / "out")
    photos.rename(tmp_path / "gone")
    assert build(other, tmp_path / "out").exit_code == 0
    assert "--hq-root photos=FOLDER" in verify(tmp_path / "out").problems[0]
    unknown = cli("verify", tmp_path / "out", "--hq-root", f"fotos={other}")
    assert unknown.exit_code == 1 and "only" in unknown.output


def test_a_missing_ffmpeg_is_one_sentence(photos, tmp_path) -> None:
    command = [sys.executable, "-m", "cirbench", "build", str(photos), "--codec", "avc"]
    env = os.environ | {"IMAGEIO_FFMPEG_EXE": "/nowhere/ffmpeg"}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "/nowhere/ffmpeg" in done.stderr


def test_a_pipe_called_like_an_image_does_not_hang(photos, tmp_path) -> None:
    os.mkfifo(photos / "pipe.png")
    command = [sys.executable, "-m", "cirbench", "build", str(photos), "--codec", "jpeg"]
    assert subprocess.run(command, cwd=tmp_path, timeout=60, capture_output=True).returncode == 3


def test_damaged_side_files_are_named(photos, tmp_path) -> None:
    out = tmp_path / "out"
    build(photos, out)
    (out / "timings.parquet").unlink()
    assert cli("table", out).exit_code == 0
    assert any("timings.parquet" in problem for problem in verify(out).problems)
    build(photos, out)  # makes it again
    assert verify(out).problems == []
    roots = (out / "roots.toml").read_text()
    (out / "roots.toml").write_text('roots = "x"\n')
    assert any("roots.toml" in problem for problem in verify(out).problems)
    (out / "roots.toml").write_text(roots)
    journal = out / "journal.sqlite"
    whole = journal.read_bytes()
    journal.write_bytes(whole[: 3 * 4096] + b"\xff" * (len(whole) - 3 * 4096))
    result = build(photos, out)
    assert result.exit_code == 1 and "cannot be used as a journal" in result.output
    journal.unlink()
    assert build(photos, out).exit_code == 0


def test_a_damaged_lq_heals_as_verify_says(photos, tmp_path) -> None:
    out = tmp_path / "out"
    build(photos, out)
    file = next((out / "lq").rglob("*.png"))
    file.write_bytes(file.read_bytes()[:-9])
    result = cli("verify", out)
    assert file.name in result.output and "delete damaged files" in result.output
    assert build(photos, out).exit_code == 0  # the contact sheet alone does not fail a build
    file.unlink()
    build(photos, out)
    assert verify(out).problems == []


def test_copies_and_links_of_hq_follow_their_source(photos, tmp_path) -> None:
    for mode in ("copy", "link"):
        out = tmp_path / mode
        cirbench.build(f"p={photos}", hq=mode, out=out, **JPEG)
        moved = photos.rename(tmp_path / f"moved-{mode}")
        rgb = imagecodecs.imread(moved / "coffee.png")
        (moved / "coffee.png").write_bytes(imagecodecs.png_encode(rgb[::-1]))
        cirbench.build(f"p={moved}", hq=mode, out=out, **JPEG)
        (out / "hq" / "p" / "chelsea.png").unlink()
        cirbench.build(f"p={moved}", hq=mode, out=out, **JPEG)
        assert verify(out).problems == []
        photos = moved


def test_a_single_file_says_nothing_about_the_others(photos, tmp_path) -> None:
    (photos / "bad.png").write_text("no image")
    cirbench.build(photos, out=tmp_path / "out", **JPEG)
    cirbench.build(photos / "chelsea.png", out=tmp_path / "out", **JPEG)
    assert len(Manifest.open(tmp_path / "out").filter(status="error")) == 1


@pytest.mark.parametrize(
    "wanted",
    [
        {"store_mode": "tiff"},
        {"hq": "move"},
        {"split": "val"},
        {"jobs": 0},
        {"limit": -1},
        {"weights_policy": "any"},
        {"weights": "any"},
        {"speed": 3},
    ],
)
def test_the_python_api_refuses_what_the_command_line_refuses(wanted, photos, tmp_path) -> None:
    with pytest.raises(CirbenchError):
        cirbench.build(photos, out=tmp_path / "out", **JPEG, **wanted)
    assert not (tmp_path / "out").exists()


def test_lists_may_be_numbers_texts_or_sequences(photos, tmp_path) -> None:
    for quality in (10, "10", [10], ("10",)):
        cirbench.build(photos, codec="jpeg,jpeg", quality=quality, out=str(tmp_path / "out"))
    assert len(Manifest.open(tmp_path / "out")) == 3


def test_contradictory_options_are_refused_before_anything_is_written(photos, tmp_path) -> None:
    out = tmp_path / "out"
    compat = ("--codec", "avc", "--conversion", "compressai-compat", "--chroma", "420")
    assert cli("build", photos, *compat, "--out", out).exit_code == 1
    assert cli("build", "--split", "test", "--codec", "jpeg", "--out", out).exit_code == 1
    assert not out.exists()


def test_an_interrupted_materialize_goes_on(photos, tmp_path, monkeypatch) -> None:
    from cirbench import materialize

    out = tmp_path / "out"
    cirbench.build(photos, store_mode="bitstream", out=out, **JPEG)
    real, calls = materialize._prepare, []

    def prepare(*args):
        calls.append(args)
        if len(calls) == 3:
            raise CirbenchError("stop here")
        return real(*args)

    monkeypatch.setattr(materialize, "_prepare", prepare)
    with pytest.raises(CirbenchError, match="stop here"):
        materialize.materialize(out, "png", jobs=1)
    monkeypatch.setattr(materialize, "_prepare", real)
    assert verify(out).problems == []
    assert materialize.materialize(out, "png") == (1, 0)
    assert verify(out, decode=True).problems == []
