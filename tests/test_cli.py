"""The command line as users type it, each in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import imagecodecs
import pytest

from cirbench import Manifest, codecs
from cirbench.codecs import bitstream
from cirbench.samples import sample_source
from cirbench.sources import read


def cirbench(*args: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cirbench", *map(str, args)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize("name", ["vvc", "hevc", "avc"])
def test_the_command_of_the_readme_gives_the_qps_it_asks_for(name, tmp_path) -> None:
    """`cirbench build --codec vvc --qp 37,42,47` as written (one photo, to be quick)."""
    extra = ["--limit", "1"] if name == "vvc" else []
    done = cirbench("build", "--codec", name, "--qp", "37,42,47", *extra, cwd=tmp_path)
    assert "sample photos" in done.stdout.splitlines()[0]
    data = Manifest.open(tmp_path / "data/cir")
    photos = 1 if extra else len(sample_source().files)
    assert len(data) == 3 * photos
    for row in data:
        assert bitstream.slice_qp(name, data.bitstream(row)) == row["level_value"]
        assert row["kind"] == ("cross-type" if name == "avc" else "seen") and row["split"]
    assert (tmp_path / "data/cir/contact_sheet.png").is_file()


def test_a_build_ends_with_its_table_and_a_contact_sheet(photos, tmp_path) -> None:
    done = cirbench("build", photos, "--recipe", "quick", cwd=tmp_path)
    for key in ("jpeg   qf5", "vvc    qp42 preset=fast", "avc    qp42 preset=fast"):
        assert re.search(rf"^{key} .* 3 ", done.stdout, re.MULTILINE), done.stdout
    assert "21 rows made, 0 already there, 0 failed" in done.stdout
    assert done.stderr == ""  # no progress bar, no library noise when not a terminal
    sheet = imagecodecs.imread(tmp_path / "data/cir/contact_sheet.png")
    hq = read(photos / "coffee.png").rgb  # smaller than a crop: shown whole, at twice its size
    big = hq.repeat(2, 0).repeat(2, 1)
    rows, columns = big.shape[:2]
    corner = [
        (top, left)
        for top, left in zip(
            *(sheet[: -rows + 1, : -columns + 1] == big[0, 0]).all(-1).nonzero(), strict=True
        )
        if (sheet[top : top + rows, left : left + columns] == big).all()
    ]
    assert len(corner) == len({row["codec"] for row in Manifest.open(tmp_path / "data/cir")})


def test_the_used_by_command_after_a_build_adds_rows(photos, tmp_path) -> None:
    cirbench("build", photos, "--codec", "avc", "--preset", "fast", cwd=tmp_path)
    done = cirbench("build", photos, "--codec", "avc", "--qp", "37,42,47", cwd=tmp_path)
    assert "9 rows made, 0 already there" in done.stdout
    done = cirbench("build", photos, "--codec", "avc", "--qp", "37,42,47", cwd=tmp_path)
    assert "0 rows made, 9 already there" in done.stdout
    assert len(Manifest.open(tmp_path / "data/cir")) == 18


def test_a_contact_sheet_of_many_levels_stays_readable(photos, tmp_path) -> None:
    cirbench(
        "build", photos, "--codec", "jpeg", "--qf", ",".join(map(str, range(1, 41))), cwd=tmp_path
    )
    sheet = imagecodecs.imread(tmp_path / "data/cir/contact_sheet.png")
    assert sheet.shape[1] < 2000
    assert len(Manifest.open(tmp_path / "data/cir")) == 120


def test_dry_run_prints_the_plan_and_writes_nothing(photos, tmp_path) -> None:
    done = cirbench("build", photos, "--dry-run", cwd=tmp_path)
    assert "3 images" in done.stdout and "disk:" in done.stdout and "time:" in done.stdout
    assert not (tmp_path / "data").exists()


def test_exit_codes_tell_some_from_none(photos, tmp_path) -> None:
    (photos / "bad.png").write_bytes(b"no")
    done = cirbench("build", photos, "--codec", "jpeg", cwd=tmp_path, code=3)
    assert "failed: bad.png" in done.stderr
    lone = tmp_path / "lone"
    lone.mkdir()
    (lone / "bad.png").write_bytes(b"no")
    cirbench("build", lone, "--codec", "jpeg", "--out", "other", cwd=tmp_path, code=1)
    (tmp_path / "empty").mkdir()
    done = cirbench("build", "empty", "--codec", "jpeg", cwd=tmp_path, code=1)
    assert "holds no images" in done.stderr


def test_user_errors_are_one_sentence(tmp_path) -> None:
    for args, message in (
        (("build", "nowhere"), "nowhere"),
        (("build", "--codec", "vcc"), "did you mean vvc?"),
        (("build", "--codec", "jpeg", "--qp", "37"), "--qp"),
        (("build", "--recipe", "papre"), "did you mean paper?"),
        (("verify", "nowhere"), "cirbench build"),
    ):
        done = cirbench(*args, cwd=tmp_path, code=1)
        assert message in done.stderr and len(done.stderr.splitlines()) == 1


def test_verify_and_materialize(photos, tmp_path) -> None:
    cirbench("build", photos, "--codec", "jpeg", "--store", "bitstream", cwd=tmp_path)
    assert " 0 problems" in cirbench("verify", "--decode", cwd=tmp_path).stdout
    assert "12 PNGs written" in cirbench("materialize", "--store", "png", cwd=tmp_path).stdout
    file = next((tmp_path / "data/cir/lq").rglob("*.png"))
    file.write_bytes(file.read_bytes()[:-1])
    assert file.name in cirbench("verify", cwd=tmp_path, code=1).stdout


def test_info_names_every_codec_and_version(tmp_path) -> None:
    text = cirbench("info", cwd=tmp_path).stdout
    for name in codecs.names():
        assert re.search(rf"^{name}\s", text, re.MULTILINE)
    for part in ("libvvenc", "libx265", "libx264", "libjpeg-turbo", "libwebp", "ffmpeg", "Pillow"):
        assert part in text


def test_the_core_runs_without_torch(photos, tmp_path) -> None:
    """Torch made unimportable: everything a traditional build needs still works."""
    script = """
import sys
class Refuse:
    def find_spec(self, name, *_):
        if name.split(".")[0] in ("torch", "torchvision", "compressai"):
            raise ImportError(f"{name} is not installed")
sys.meta_path.insert(0, Refuse())
sys.argv[1:] = ["build", sys.argv[1], "--codec", "jpeg,webp,avc"]
from cirbench.cli import main
main()
"""
    command = [sys.executable, "-c", script, str(photos)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "30 rows made" in done.stdout


def test_help_of_every_command_is_complete(tmp_path) -> None:
    text = cirbench("--help", cwd=tmp_path).stdout
    for command in ("build", "verify", "materialize", "check", "table", "recipes", "info"):
        assert re.search(rf"^  {command}  ", text, re.MULTILINE)
        assert len(cirbench(command, "--help", cwd=tmp_path).stdout) > 80
