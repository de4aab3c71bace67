"""A build killed at any moment and run again gives the undisturbed manifest, byte for byte."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cirbench
from cirbench.verify import verify


def command(photos: Path, out: Path, jobs: int) -> list[str]:
    line = [sys.executable, "-m", "cirbench", "build", str(photos), "--out", str(out)]
    return [
        *line,
        "--codec",
        "jpeg,webp,avc,hevc",
        "--qp",
        "42",
        "--quality",
        "5,10,15",
        "--jobs",
        str(jobs),
    ]


@pytest.fixture(scope="module")
def undisturbed(_originals: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, float]:
    """(manifest, seconds) of a build nobody disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    start = time.monotonic()
    subprocess.run(command(_originals, out, 2), check=True, capture_output=True)
    return (out / "manifest.parquet").read_bytes(), time.monotonic() - start


@pytest.mark.parametrize("jobs", [1, 2])
def test_sigkill_at_random_moments_changes_nothing(jobs, _originals, undisturbed, tmp_path) -> None:
    wanted, seconds = undisturbed
    chance, out = random.Random(jobs), tmp_path / "out"
    kills = 0
    while kills < 6:  # each goes on where the last was killed, until one gets through
        process = subprocess.Popen(
            command(_originals, out, jobs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(chance.uniform(0.3, 1) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        else:
            if kills:
                break
            seconds *= 0.7  # too late for even one kill: a busy machine made `seconds` too long
            shutil.rmtree(out)
    assert kills
    done = subprocess.run(
        command(_originals, out, jobs), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (out / "manifest.parquet").read_bytes() == wanted
    assert verify(out, decode=True).problems == []
    assert not (out / ".tmp").exists()


def test_a_kill_costs_no_finished_row(_originals, tmp_path, monkeypatch) -> None:
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
