"""Encoders (and ffmpeg's filters) as processes: killed when they hang, and never left behind.

Each is the leader of a process group, so that whatever it started goes with it. A small shell, the
guard, one per Python process and in a session of its own, reads a pipe: when Python ends, even by
SIGKILL, the pipe closes, and the guard kills the encoders that still run and removes their files.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..errors import CodecError, UnavailableError
from .base import Settings

Value = TypeVar("Value")

LEAST_SECONDS = 60.0
"""No process is called hung before so many seconds, however small its picture."""

PATIENCE = 30.0
"""An encoder is called hung after so many times what its codec's estimate says it needs.

The estimates were measured alone on one core, at the QPs of the paper: low QPs take three times
as long, and a slow machine ten times.
"""

ROUNDS = 10
"""On a swamped machine so many times more: as long as it still gets to compute."""

SIGN_OF_LIFE = 1.0
"""Seconds of CPU time, in that time, which show that it does."""


class EndedError(CodecError):
    """A process hung and was killed, or was killed from outside: worth one more try."""


def twice(call: Callable[[], Value]) -> Value:
    """``call()``, and once more when its process hung or was killed.

    Raises CodecError when the second one goes the same way.
    """
    try:
        return call()
    except EndedError:
        try:
            return call()
        except EndedError as error:
            raise CodecError(f"{error}; so was a second try") from error


def limit(pixels: int, seconds_per_megapixel: float) -> float:
    """Seconds after which a process that works on ``pixels`` pixels is called hung."""
    return LEAST_SECONDS + PATIENCE * seconds_per_megapixel * pixels / 1e6


def encoder_limit(codec: str, settings: Settings, pixels: int) -> float:
    """:func:`limit` by what the codec's estimate (``codecs/<codec>.toml``) says of its encoder."""
    from . import get

    return limit(pixels, get(codec).estimate(settings).seconds)


@dataclass
class _Guard:
    """What this Python process knows of the shell that cleans up after it.

    Attributes:
        pipe: our end of the one it reads: ``+ PID`` of an encoder before it begins, ``- PID`` when
            it has ended.
        folder: for temporary files; it removes it.
        running: encoders that run now.
    """

    pipe: int
    folder: Path
    running: set[subprocess.Popen[bytes]] = field(default_factory=set)

    def tell(self, sign: str, process: subprocess.Popen[bytes]) -> None:
        """An encoder is to begin, or has ended."""
        (self.running.add if sign == "+" else self.running.discard)(process)
        with suppress(OSError):  # someone killed the shell: nothing depends on it but tidiness
            os.write(self.pipe, f"{sign} {process.pid}\n".encode())


# In the background, and so soon nobody's child: who kills a process with all its children, as
# joblib does with its workers, spares it.
_GUARD = """
exec 3<&0
(
while read -r sign pid; do
  others=
  for one in $all; do [ "$one" = "-$pid" ] || others="$others $one"; done
  all=$others
  [ "$sign" = - ] || all="$all -$pid"
done <&3
[ -z "$all" ] || kill -s KILL -- $all 2>/dev/null
rm -rf -- "$1"
) &
"""
_WAIT = 'read -r go && exec "$@"'
_lock = threading.RLock()
_guard: _Guard | None = None
_stopped = False


def _our_guard() -> _Guard:
    """The guard of this Python process, made on first use (hold the lock)."""
    global _guard
    if _stopped:
        raise EndedError("it was stopped")
    if _guard is None:
        try:
            folder = Path(tempfile.mkdtemp(prefix="cirbench-"))
        except OSError as error:
            raise _no_room(tempfile.gettempdir(), error) from error
        theirs, ours = os.pipe()
        try:
            subprocess.run(
                ["/bin/sh", "-c", _GUARD, "cirbench-guard", str(folder)],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,  # Ctrl-C and a closed terminal are not for it
                check=True,
            )
        finally:
            os.close(theirs)
        _guard = _Guard(ours, folder)
    return _guard


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start ``command`` as the leader of a process group; ``options`` are those of Popen.

    Its standard input is a pipe. Give the process to :func:`watched` next. Raises UnavailableError
    when it cannot be run.
    """
    if shutil.which(command[0]) is None:
        reason = "it may not be executed" if Path(command[0]).exists() else "no such file"
        raise UnavailableError(f"{command[0]} cannot be run ({reason})")
    with _lock:
        guard = _our_guard()
        # A shell waits until the guard knows of it, then becomes the encoder: when Python is killed
        # before, nothing has begun.
        process = subprocess.Popen(
            ["/bin/sh", "-c", _WAIT, "sh", *command],
            stdin=subprocess.PIPE,
            process_group=0,
            **options,
        )
        guard.tell("+", process)
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(b"\n")
            process.stdin.flush()
    return process


@contextmanager
def watched(process: subprocess.Popen[bytes], name: str, seconds: float) -> Iterator[None]:
    """Talk to a process from :func:`start`; it has ended when the block has.

    After ``seconds`` it is killed with everything it started, which ends reading from it; later,
    where it has not had that much CPU time yet but got some (see :data:`ROUNDS`). Raises
    EndedError, calling it ``name``, when that happened or something else killed it.
    """
    ended, waited = threading.Event(), [0.0]

    def give_up() -> None:
        used = 0.0
        for turn in range(1, ROUNDS + 1):
            if ended.wait(seconds):
                return
            before, used = used, _cpu_seconds(process.pid)
            if used - before < SIGN_OF_LIFE or used >= seconds or turn == ROUNDS:
                waited[0] = turn * seconds
                return _kill(process)

    threading.Thread(target=give_up, daemon=True).start()
    try:
        with process:  # closes its pipes and waits for it
            try:
                yield
            except BaseException:
                _kill(process)
                raise
    finally:
        ended.set()
        with _lock:
            if _guard:
                _guard.tell("-", process)
    if waited[0]:
        raise EndedError(f"{name} hung: it was killed after {waited[0]:.0f} s")
    if process.returncode in (-signal.SIGKILL, -signal.SIGTERM):
        raise EndedError(f"{name} was ended by signal {-process.returncode} (out of memory?)")


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process, all its threads, so far; 0 where the system does not tell."""
    try:
        # After the name, which may hold spaces: utime and stime are fields 14 and 15 of proc(5).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With everything it started, also where it has ended and what it started has not."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def run(
    command: Sequence[str], name: str, seconds: float, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run ``command`` to its end; what it printed is in the result, and never checked.

    ``input`` (bytes) goes to its standard input, which is empty without. Raises as :func:`start`
    and :func:`watched`.
    """
    content = options.pop("input", b"")
    process = start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    with watched(process, name, seconds):
        out, err = process.communicate(content)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for one run of an encoder; gone afterwards, even when Python is killed.

    Raises CodecError when files in it cannot be written.
    """
    with _lock:
        parent = _our_guard().folder
    try:
        with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OSError as error:
        raise _no_room(parent, error) from error


def _no_room(folder: Path | str, error: OSError) -> CodecError:
    return CodecError(f"cannot write to {folder} ({error.strerror}); make room or set TMPDIR")


@contextmanager
def stopped() -> Iterator[None]:
    """Within, no encoder runs: those that did are killed, and whoever waits gets an EndedError."""
    global _stopped
    _stop()
    try:
        yield
    finally:
        _stopped = False


def _stop() -> None:
    global _stopped
    with _lock:
        _stopped = True
        for process in list(_guard.running) if _guard else ():
            _kill(process)


@atexit.register
def _end() -> None:
    """Leave nothing behind, and start nothing more: worker threads may go on a little."""
    global _guard
    with _lock:
        _stop()
        guard, _guard = _guard, None
    if guard:
        shutil.rmtree(guard.folder, ignore_errors=True)
        os.close(guard.pipe)


def _forget() -> None:
    """A forked child has no encoders, and must not hold the pipe open."""
    global _guard, _lock
    _lock = threading.RLock()
    if _guard:
        os.close(_guard.pipe)
        _guard = None


os.register_at_fork(after_in_child=_forget)
