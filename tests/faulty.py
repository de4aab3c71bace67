"""What the fault tests need: cirbench in a process of its own, an ffmpeg that misbehaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg

QUICK = ("--codec", "jpeg,avc", "--qf", "10", "--qp", "42", "--jobs", "2")
"""Six rows of three photos: three in Python, three through ffmpeg."""

HASTY = """
import sys
from cirbench.codecs import processes, video
processes.LEAST_SECONDS, processes.PATIENCE = {seconds}, 0
from cirbench.cli import main
main(prog_name="cirbench")
"""


def command(*args: object, hung_after: float | None = None) -> list[str]:
    """A cirbench command; ``hung_after`` shortens the time after which an encoder is hung."""
    start = ["-m", "cirbench"] if hung_after is None else ["-c", HASTY.format(seconds=hung_after)]
    return [sys.executable, *start, *map(str, args)]


def run(
    *args: object, hung_after: float | None = None, **env: object
) -> subprocess.CompletedProcess:
    """Run a command to its end; no fault may show a traceback."""
    line = command(*args, hung_after=hung_after)
    done = subprocess.run(line, env=environment(**env), capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def started(*args: object, hung_after: float | None = None, **env: object) -> subprocess.Popen:
    """A command that runs on."""
    return subprocess.Popen(
        command(*args, hung_after=hung_after),
        env=environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background has them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def environment(**env: object) -> dict[str, str]:
    return os.environ | {name: str(value) for name, value in env.items()}


def bad_ffmpeg(folder: Path, deed: str, times: int = 1000) -> Path:
    """An ffmpeg that does ``deed`` instead of coding, the first ``times`` times it is asked to.

    What it is asked about itself it answers. Its process ids are the names of the files in
    ``folder/bad``.
    """
    folder.mkdir(exist_ok=True)
    (folder / "bad").mkdir()
    real = imageio_ffmpeg.get_ffmpeg_exe()
    script = folder / "ffmpeg"
    script.write_text(
        f"""#!/bin/sh
case "$*" in *-version*|*"-loglevel info"*) exec "{real}" "$@";; esac
n=0
while [ $n -lt {times} ]; do
  if mkdir "{folder}/$n" 2>/dev/null; then touch "{folder}/bad/$$"; {deed}; exit 1; fi
  n=$((n + 1))
done
exec "{real}" "$@"
"""
    )
    script.chmod(0o755)
    return script


def bad_jm(folder: Path, deed: str) -> Path:
    """A tree of JM whose encoder says its version and then does ``deed``."""
    encoder = folder / "bin" / "lencod"
    encoder.parent.mkdir(parents=True)
    (folder / "bad").mkdir()
    (folder / "bin" / "encoder_JM_Intra_HE.cfg").touch()
    version = 'case "$1" in -v) echo JM-19.0; exit;; esac'
    encoder.write_text(f'#!/bin/sh\n{version}\ntouch "{folder}/bad/$$"\n{deed}\n')
    encoder.chmod(0o755)
    return folder


HANG = "sleep 987 & sleep 987"  # with a child of its own, which has to go as well
DIE = "kill -9 $$"


def bad_pids(folder: Path) -> list[int]:
    """Process ids of the encoders that misbehaved."""
    return [int(file.name) for file in (folder / "bad").iterdir()]


def wait_for(condition: Callable[[], object], what: str, seconds: float = 300) -> None:
    """Wait until ``condition()`` holds. Fails saying ``what`` never happened."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.02)


def of_group(group: int) -> list[int]:
    """Processes of a process group that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def assert_nothing_left(folder: Path, scratch: Path) -> None:
    """No bad encoder, none of its children and no temporary file outlives the command for long."""
    pids = bad_pids(folder)
    assert pids
    wait_for(lambda: not any(map(of_group, pids)), "the encoders' end", 10)
    wait_for(lambda: not [*scratch.iterdir()], f"{scratch} empty", 10)
