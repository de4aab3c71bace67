"""When an encoder is called hung: by the clock, unless a swamped machine kept it from working."""

from __future__ import annotations

import sys

import pytest

from cirbench.codecs import processes

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def test_a_starved_process_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = iter(range(1, 100))
    monkeypatch.setattr(processes, "_cpu_seconds", lambda pid: next(turns) * 0.1)
    monkeypatch.setattr(processes, "SIGN_OF_LIFE", 0.1 - 1e-9)
    done = processes.run(["sleep", "1.2"], "sleep", seconds=0.5)  # given up on at 0.5 of CPU time
    assert done.returncode == 0
    with pytest.raises(processes.EndedError, match="killed after"):
        processes.run(["sleep", "60"], "sleep", seconds=0.5)


def test_a_starved_process_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = iter(range(1, 100))
    monkeypatch.setattr(processes, "_cpu_seconds", lambda pid: next(turns) * 0.01)
    monkeypatch.setattr(processes, "SIGN_OF_LIFE", 0.01 - 1e-9)
    with pytest.raises(processes.EndedError, match="sleep hung: it was killed after 2 s"):
        processes.run(["sleep", "60"], "sleep", seconds=0.2)


@needs_proc
def test_what_computes_for_ever_or_never_is_killed() -> None:
    for script in ("while :; do :; done", "sleep 60"):
        with pytest.raises(processes.EndedError, match="sh hung"):
            processes.run(["sh", "-c", script], "sh", seconds=1.5)


def test_what_a_process_left_behind_is_killed_too() -> None:
    with pytest.raises(processes.EndedError, match="sh hung"):
        processes.run(["sh", "-c", "sleep 60 & exit 0"], "sh", seconds=0.5)
