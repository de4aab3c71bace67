"""Killed, interrupted, hung, out of memory, out of disk: nothing lost, nothing left behind.

Real processes. After every fault the same command has to end with the manifest of a build that
nobody disturbed, byte for byte; see docs/faults.md.
"""

from __future__ import annotations

import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest
from faulty import (
    DIE,
    HANG,
    QUICK,
    assert_nothing_left,
    bad_ffmpeg,
    bad_jm,
    bad_pids,
    command,
    environment,
    run,
    started,
    wait_for,
)

import cirbench
from cirbench import Manifest
from cirbench.builder import store
from cirbench.evaluation.journal import Journal
from cirbench.verify import verify

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.fixture(scope="module")
def quick(_originals: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The manifest of a build that nobody disturbed."""
    out = tmp_path_factory.mktemp("quick") / "out"
    assert run("build", f"p={_originals}", "--out", out, *QUICK).returncode == 0
    return (out / "manifest.parquet").read_bytes()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where temporary files go."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def assert_heals(photos: Path, out: Path, wanted: bytes, *options: object) -> None:
    """The same command, undisturbed, ends as if nothing had happened."""
    done = run("build", f"p={photos}", "--out", out, *QUICK, *options)
    assert done.returncode == 0, done.stderr
    assert (out / "manifest.parquet").read_bytes() == wanted
    assert verify(out, decode=True).problems == []
    assert not (out / store.TEMPORARY).exists()


@needs_proc
def test_sigkill_of_the_build_leaves_no_encoder_and_no_temporary_file(
    _originals, quick, tmp_path, scratch
):
    bad, out = tmp_path / "bad", tmp_path / "out"
    env = {"IMAGEIO_FFMPEG_EXE": bad_ffmpeg(bad, HANG), "TMPDIR": scratch}
    process = started("build", f"p={_originals}", "--out", out, *QUICK, **env)
    wait_for(lambda: bad_pids(bad), "an encoder started")
    process.kill()
    process.communicate()
    assert_nothing_left(bad, scratch)
    assert_heals(_originals, out, quick)


@needs_proc
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_cleanly_in_one_sentence(sent, _originals, quick, tmp_path, scratch):
    bad, out = tmp_path / "bad", tmp_path / "out"
    env = {"IMAGEIO_FFMPEG_EXE": bad_ffmpeg(bad, HANG), "TMPDIR": scratch}
    process = started("build", f"p={_originals}", "--out", out, *QUICK, **env)
    wait_for(lambda: bad_pids(bad), "an encoder started")
    process.send_signal(sent)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said == "cirbench: interrupted; run the same command again to go on\n"
    assert not (out / store.TEMPORARY).exists()
    assert_nothing_left(bad, scratch)
    assert len(Manifest.open(out)) <= 3  # what was finished is in it already
    assert_heals(_originals, out, quick)


def test_an_encoder_killed_once_is_tried_again(_originals, quick, tmp_path):
    out, ffmpeg = tmp_path / "out", bad_ffmpeg(tmp_path / "bad", DIE, times=1)
    done = run("build", f"p={_originals}", "--out", out, *QUICK, IMAGEIO_FFMPEG_EXE=ffmpeg)
    assert done.returncode == 0, done.stderr
    assert (out / "manifest.parquet").read_bytes() == quick
    assert len(bad_pids(tmp_path / "bad")) == 1


def test_an_encoder_killed_every_time_gives_error_rows_and_the_next_build_heals(
    _originals, quick, tmp_path
):
    out, ffmpeg = tmp_path / "out", bad_ffmpeg(tmp_path / "bad", DIE)
    done = run("build", f"p={_originals}", "--out", out, *QUICK, IMAGEIO_FFMPEG_EXE=ffmpeg)
    assert done.returncode == 3
    errors = Manifest.open(out).filter(status="error")
    assert {row["task"] for row in errors} == {"avc-qp42"}
    assert all("signal 9 (out of memory?); so was" in row["error"] for row in errors)
    assert len(Manifest.open(out).usable) == 3
    assert_heals(_originals, out, quick)


@needs_proc
def test_a_hung_encoder_is_killed_and_tried_again(_originals, quick, tmp_path, scratch):
    bad, out = tmp_path / "bad", tmp_path / "out"
    env = {"IMAGEIO_FFMPEG_EXE": bad_ffmpeg(bad, HANG, times=1), "TMPDIR": scratch}
    done = run("build", f"p={_originals}", "--out", out, *QUICK, hung_after=4, **env)
    assert done.returncode == 0, done.stderr
    assert (out / "manifest.parquet").read_bytes() == quick
    assert_nothing_left(bad, scratch)


@needs_proc
def test_an_encoder_that_hangs_every_time_gives_error_rows(_originals, quick, tmp_path, scratch):
    bad, out = tmp_path / "bad", tmp_path / "out"
    env = {"IMAGEIO_FFMPEG_EXE": bad_ffmpeg(bad, HANG), "TMPDIR": scratch}
    wanted = ("--out", out, *QUICK, "--limit", "1")
    done = run("build", f"p={_originals}", *wanted, hung_after=2, **env)
    assert done.returncode == 3
    (row,) = Manifest.open(out).filter(status="error")
    assert row["error"] == "ffmpeg hung: it was killed after 2 s; so was a second try"
    assert_nothing_left(bad, scratch)
    assert_heals(_originals, out, quick)


@needs_proc
def test_a_hung_reference_encoder_is_killed_and_its_files_go(_originals, tmp_path, scratch):
    bad, out = tmp_path / "bad", tmp_path / "out"
    env = {"CIRBENCH_JM": bad_jm(bad, HANG), "TMPDIR": scratch}
    wanted = ("--codec", "avc", "--encoder", "jm", "--qp", "42", "--limit", "1", "--out", out)
    done = run("build", f"p={_originals}", *wanted, hung_after=2, **env)
    assert done.returncode == 1
    (row,) = Manifest.open(out)
    assert row["error"] == "JM hung: it was killed after 2 s; so was a second try"
    assert_nothing_left(bad, scratch)


@needs_proc
def test_sigkill_leaves_no_reference_encoder_and_none_of_its_files(_originals, tmp_path, scratch):
    bad = tmp_path / "bad"
    env = {"CIRBENCH_JM": bad_jm(bad, HANG), "TMPDIR": scratch}
    wanted = ("--codec", "avc", "--encoder", "jm", "--qp", "42", "--out", tmp_path / "out")
    process = started("build", f"p={_originals}", *wanted, **env)
    wait_for(lambda: bad_pids(bad), "an encoder started")
    assert [*scratch.rglob("in.yuv")]
    process.kill()
    process.communicate()
    assert_nothing_left(bad, scratch)


def test_a_killed_worker_process_costs_nothing(_originals, quick, tmp_path):
    """As when the system is out of memory: the worker goes, its row is made by another."""
    out, ffmpeg = tmp_path / "out", bad_ffmpeg(tmp_path / "bad", "kill -9 $PPID", times=1)
    wanted = ("--out", out, *QUICK, "--backend", "loky")
    done = run("build", f"p={_originals}", *wanted, IMAGEIO_FFMPEG_EXE=ffmpeg)
    assert done.returncode == 0, done.stderr
    assert len(bad_pids(tmp_path / "bad")) == 1
    assert (out / "manifest.parquet").read_bytes() == quick
    assert not (out / store.TEMPORARY).exists()


def test_the_build_itself_killed_for_memory_goes_on(_originals, quick, tmp_path):
    out, ffmpeg = tmp_path / "out", bad_ffmpeg(tmp_path / "bad", "kill -9 $PPID", times=1)
    done = run("build", f"p={_originals}", "--out", out, *QUICK, IMAGEIO_FFMPEG_EXE=ffmpeg)
    assert done.returncode == -signal.SIGKILL
    assert_heals(_originals, out, quick)


MEASURED = """
import sys
from cirbench.cli import main
try:
    main()
finally:
    print([line.split()[1] for line in open("/proc/self/status") if "VmPeak" in line][0])
"""


@needs_proc
def test_too_little_memory_gives_error_rows_and_the_next_build_heals(photos, quick, tmp_path):
    """Address space for the small photos, and not for the large one."""
    line = [sys.executable, "-c", MEASURED, "build", f"p={photos}", *QUICK, "--out"]
    done = subprocess.run([*line, tmp_path / "small"], capture_output=True, text=True, check=True)
    enough = 1024 * int(done.stdout.split()[-1]) + (64 << 20)
    large = np.zeros((6000, 8000, 3), np.uint8)
    (photos / "large.png").write_bytes(imagecodecs.png_encode(large, level=1))
    out = tmp_path / "out"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (enough, enough))

    done = subprocess.run(
        [*line, out], preexec_fn=limit, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "not enough memory" in done.stderr and "Traceback" not in done.stderr
    failed = {row["hq_path"] for row in Manifest.open(out).filter(status="error")}
    assert failed == {"large.png"} and len(Manifest.open(out).usable) == 6
    (photos / "large.png").unlink()
    assert_heals(photos, out, quick)


FULL = """
mount -t tmpfs -o size=$1 tmpfs "$2" || exit 99
shift 2
"$@"
echo "status $?" >&2
mount -o remount,size=64m "$out"
"$@" && cp -r "$out/set" "$copy"
"""


@pytest.mark.parametrize("size", ["8k", "48k", "100k"])
def test_a_full_disk_stops_in_one_sentence_and_the_build_goes_on(size, _originals, quick, tmp_path):
    """A file system of that size; then there is room, and the same command ends the build."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"]).returncode:
        pytest.skip("no private mounts here: see the test with a limit on file sizes")
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    line = command("build", f"p={_originals}", *QUICK, "--out", disk / "set")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", FULL, "sh", size, str(disk), *line],
        env=environment(out=disk, copy=copy),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 99:
        pytest.skip("no tmpfs here: see the test with a limit on file sizes")
    assert done.returncode == 0, done.stderr
    said, _, after = done.stderr.partition("status ")
    assert after.startswith("1\n") and "Traceback" not in done.stderr
    assert "cannot" in said and "make room" in said.splitlines()[-1]
    assert (copy / "manifest.parquet").read_bytes() == quick
    assert verify(copy, decode=True).problems == []
    assert not (copy / store.TEMPORARY).exists()


def test_a_file_that_cannot_be_written_stops_the_build_and_it_goes_on(photos, tmp_path):
    """A file-size limit fails as a full disk does."""
    big = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    (photos / "big.png").write_bytes(imagecodecs.png_encode(big))
    out = tmp_path / "out"
    line = command("build", photos, "--codec", "jpeg", "--qf", "5,15", "--jobs", 1, "--out", out)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))

    done = subprocess.run(line, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "cannot write" in done.stderr and "make room" in done.stderr
    assert "Traceback" not in done.stderr
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert verify(out, decode=True).problems == []
    assert not (out / store.TEMPORARY).exists()


MANY = ("--codec", "jpeg,webp,avc,hevc", "--qp", "42", "--quality", "5,10,15")


@pytest.fixture(scope="module")
def many(_originals: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, float]:
    """(manifest, seconds) of a longer build that nobody disturbed."""
    out = tmp_path_factory.mktemp("many") / "out"
    start = time.monotonic()
    assert run("build", _originals, "--out", out, *MANY, "--jobs", 2).returncode == 0
    return (out / "manifest.parquet").read_bytes(), time.monotonic() - start


@pytest.mark.parametrize("jobs", [1, 2])
def test_sigkill_at_random_moments_changes_nothing(jobs, _originals, many, tmp_path):
    wanted, seconds = many
    chance, out = random.Random(jobs), tmp_path / "out"
    arguments = ("build", _originals, "--out", out, *MANY, "--jobs", jobs)
    kills = 0
    while kills < 4:  # each goes on where the last was killed, until one gets through
        process = started(*arguments)
        try:
            process.communicate(timeout=chance.uniform(0.3, 1) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
        else:
            if kills:
                break
            seconds *= 0.7  # too late for even one kill: a busy machine made `seconds` too long
            shutil.rmtree(out)
    assert kills
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert (out / "manifest.parquet").read_bytes() == wanted
    assert verify(out, decode=True).problems == []
    assert not (out / store.TEMPORARY).exists()


def test_a_kill_costs_no_finished_row(_originals, tmp_path, monkeypatch):
    """Rows are committed as they come: stop at the sixth, and five are there."""
    from cirbench.builder import engine
    from cirbench.errors import CirbenchError

    real, calls = engine.make, []

    def make(work, target):
        calls.append(work)
        if len(calls) == 6:
            raise CirbenchError("stop here")
        return real(work, target)

    monkeypatch.setattr(engine, "make", make)
    with pytest.raises(CirbenchError, match="stop here"):
        cirbench.build(_originals, codec="jpeg", out=tmp_path / "out", jobs=1)
    monkeypatch.setattr(engine, "make", real)
    result = cirbench.build(_originals, codec="jpeg", out=tmp_path / "out", jobs=1)
    assert result.skipped == 5 and result.made == 7


SLOW_EVAL = """
import time
from cirbench.evaluation import journal
real, made = journal.Journal.add, []
def add(self, scores):
    real(self, scores)
    made.append(0)
    if len(made) == 5:
        self._db.commit()
        print("five", flush=True)
        time.sleep(600)
journal.Journal.add = add
from cirbench.cli import main
main(prog_name="cirbench")
"""


def test_an_evaluation_killed_in_the_middle_goes_on(_originals, tmp_path, scratch):
    data = tmp_path / "data"
    assert run("build", f"p={_originals}", "--out", data, *QUICK).returncode == 0
    wanted = ("--data", data, "--model", "identity", "--metrics", "psnr,vmaf", "--no-report")
    wanted = ("eval", *wanted, "--jobs", "2", "--out")
    assert run(*wanted, tmp_path / "straight").returncode == 0
    line = [sys.executable, "-c", SLOW_EVAL, *map(str, wanted), tmp_path / "killed"]
    env = environment(TMPDIR=scratch)
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None and process.stdout.readline() == "five\n"
    process.kill()
    process.communicate()
    wait_for(lambda: not [*scratch.iterdir()], f"{scratch} empty", 10)
    with Journal(tmp_path / "killed") as journal:
        kept = [journal.scores(model, "", cirbench.__version__) for model in ("LQ", "identity")]
    assert sum(map(len, kept)) == 5
    assert not (tmp_path / "killed/scores.parquet").exists()
    assert run(*wanted, tmp_path / "killed").returncode == 0
    for name in ("scores.parquet", "summary.csv"):
        here, there = (tmp_path / folder / name for folder in ("killed", "straight"))
        if name == "scores.parquet":  # its metadata name the folder
            assert pq.read_table(here).equals(pq.read_table(there))
        else:
            assert here.read_bytes() == there.read_bytes()
    assert not (tmp_path / "killed" / store.TEMPORARY).exists()
