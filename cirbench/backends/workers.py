"""Calls in, results out, whatever the backend; what lost workers had is given out again."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import uuid
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, compress
from operator import not_
from pathlib import Path
from typing import Any, Protocol

import joblib
from threadpoolctl import threadpool_limits

from .. import __version__
from ..builder import store
from ..crew import Crew
from ..errors import CirbenchError
from . import Backend, Needs, attempts, local

_ROUNDS = 5
"""So often in a row workers may be lost without anything to show for it."""


@dataclass(frozen=True)
class Call:
    """Something for a worker to do.

    Attributes:
        function: one that can be imported; called with ``args`` and, at the end, the folder for
            :mod:`.attempts` (None where nothing can be lost).
        args: small, and picklable where the backend is another process.
        keys: what it may leave notes about.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    keys: tuple[str, ...]


class Cluster(Protocol):
    """What each backend offers (see :mod:`.local`, :mod:`.dask_backend`, :mod:`.ray_backend`)."""

    @property
    def lost(self) -> tuple[type[BaseException], ...]:
        """What joblib raises when workers were lost."""

    def count(self, needs: Needs) -> int:
        """Rows at a time that need this. Raises CirbenchError when no worker has it."""

    def parallel(self, needs: Needs) -> joblib.Parallel:
        """A fresh one; its results are to come as they are ready."""


@dataclass(frozen=True)
class Workers:
    """Workers that are ready; made by :func:`opened`.

    Attributes:
        choice: what was chosen.
        cluster: what joblib is told.
        folder: where they leave notes, on a file system they share; None for threads.
    """

    choice: Backend
    cluster: Cluster
    folder: Path | None

    def count(self, needs: Needs = ()) -> int:
        """Rows at a time."""
        return self.cluster.count(needs)

    def results(self, calls: Iterable[Call], needs: Needs = ()) -> Generator[Any, None, None]:
        """What the calls return, as it comes; close the generator to stop early.

        Raises what a call raises, and CirbenchError when workers are lost without end.
        """
        calls, fruitless = iter(calls), 0
        while True:
            first = next(calls, None)  # starting workers for nothing takes Ray seconds
            if first is None:
                return
            feed = _Feed(chain((first,), calls))
            try:
                with contextlib.closing(self._round(feed, needs)) as results:
                    for result in results:
                        fruitless = 0
                        yield result
                return
            except self.cluster.lost as error:
                fruitless += 1
                if fruitless == _ROUNDS:
                    raise _hopeless(error) from error
            unfinished, rest = feed.left()
            begun = [self._is_begun(call) for call in unfinished]
            for call in compress(unfinished, begun):
                yield self._alone(call, needs)
            calls = chain(compress(unfinished, map(not_, begun)), rest)

    def _round(self, feed: _Feed, needs: Needs) -> Generator[Any, None, None]:
        """Results of what ``feed`` gives, until it is empty or workers are lost."""
        if self.folder is None:
            crew = Crew()
            ending: contextlib.AbstractContextManager[None] = crew.at_work()
            work = (joblib.delayed(crew)(_work, number, call, None) for number, call in feed)
        else:
            _make_folder(self.folder)
            setting = _Setting.of_here(self.folder)
            ending = contextlib.nullcontext()
            work = (joblib.delayed(_work)(number, call, setting) for number, call in feed)
        with warnings.catch_warnings():
            # joblib warns about work that was not waited for.
            warnings.filterwarnings("ignore", category=UserWarning, module="joblib")
            try:
                # OpenBLAS would start threads of its own under every thread of ours.
                with (
                    threadpool_limits(1),
                    contextlib.closing(self.cluster.parallel(needs)(work)) as results,
                    ending,
                ):
                    for number, result in results:
                        feed.done(number)
                        yield result
            finally:
                feed.close()

    def _is_begun(self, call: Call) -> bool:
        """By a worker that did not come back."""
        return any(attempts.begun(self.folder, key) for key in call.keys)

    def _alone(self, call: Call, needs: Needs) -> Any:
        """The result of one call while nothing else runs that could be lost with it."""
        for _ in range(_ROUNDS):
            try:
                (result,) = self._round(_Feed([call]), needs)
                return result
            except self.cluster.lost as error:
                problem = error
        raise _hopeless(problem) from problem


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise store.StoreError(
            f"cannot write to {folder} ({error.strerror}); workers leave notes there"
        ) from error


def _hopeless(error: BaseException) -> CirbenchError:
    said = str(error).strip().splitlines() or [type(error).__name__]
    return CirbenchError(
        f"workers were lost {_ROUNDS} times in a row ({said[0].rstrip('.')}); look at their logs, "
        "then run the same command again to go on"
    )


class _Feed:
    """Numbers calls as joblib's threads take them, and remembers those that are not done."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self._calls = iter(calls)
        self._lock = threading.Lock()
        self._flying: dict[int, Call] = {}
        self._given = 0
        self._closed = False

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> tuple[int, Call]:
        with self._lock:
            if self._closed:
                raise StopIteration
            call = next(self._calls)
            self._given += 1
            self._flying[self._given] = call
            return self._given, call

    def close(self) -> None:
        """Give out nothing more: joblib's threads may still ask."""
        with self._lock:
            self._closed = True

    def done(self, number: int) -> None:
        """The call of this number has its result."""
        with self._lock:
            del self._flying[number]

    def left(self) -> tuple[list[Call], Iterator[Call]]:
        """Calls given out and not done, and those never given out (after :meth:`close`)."""
        return list(self._flying.values()), self._calls


@dataclass(frozen=True)
class _Setting:
    """What a worker's process has to have in common with ours.

    Attributes:
        version: cirbench's.
        environment: the variables that are cirbench's own.
        folder: for notes.
    """

    version: str
    environment: tuple[tuple[str, str], ...]
    folder: Path

    @classmethod
    def of_here(cls, folder: Path) -> _Setting:
        ours = {name: value for name, value in os.environ.items() if name.startswith(_OURS)}
        if ours.get(_WEIGHTS):
            ours[_WEIGHTS] = str(Path(ours[_WEIGHTS]).expanduser().absolute())
        return cls(__version__, tuple(sorted(ours.items())), folder)

    def apply(self) -> None:
        """Make this process like that, once. Raises CirbenchError where it cannot be."""
        global _applied
        if not self.folder.is_dir():
            raise attempts.unseen(self.folder)
        if _applied == self:
            return
        if self.version != __version__:
            raise CirbenchError(
                f"the worker on {socket.gethostname()} has cirbench {__version__}, this machine "
                f"{self.version}; install the same on both"
            )
        for name in [name for name in os.environ if name.startswith(_OURS)]:
            del os.environ[name]
        os.environ.update(self.environment)
        threadpool_limits(1)  # for good: a worker does one thing on one core
        _applied = self


_OURS, _WEIGHTS = "CIRBENCH_", "CIRBENCH_WEIGHTS"
_applied: _Setting | None = None


def _work(number: int, call: Call, setting: _Setting | None) -> tuple[int, Any]:
    """Runs in the worker."""
    if setting is None:
        return number, call.function(*call.args, None)
    setting.apply()
    return number, call.function(*call.args, setting.folder)


@contextlib.contextmanager
def opened(choice: Backend, jobs: int | None, shared: Path) -> Iterator[Workers]:
    """Workers of a backend.

    Args:
        choice: the backend.
        jobs: rows at a time; None is all that it can.
        shared: a folder all of them see; they leave notes in its ``.tmp``.

    Raises CirbenchError when a cluster does not answer or has no workers, UnavailableError when
    its package is missing.
    """
    if choice.is_here:
        yield Workers(choice, local.Threads(jobs), None)
        return
    folder = shared.absolute() / store.TEMPORARY / f"notes-{uuid.uuid4().hex}"
    with _connected(choice, jobs) as cluster:
        try:
            yield Workers(choice, cluster, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                folder.parent.rmdir()


def _connected(choice: Backend, jobs: int | None) -> contextlib.AbstractContextManager[Cluster]:
    if choice.name == "dask":
        from . import dask_backend

        return dask_backend.connect(choice.scheduler, jobs)
    if choice.name == "ray":
        from . import ray_backend

        return ray_backend.connect(choice.scheduler, jobs)
    return contextlib.nullcontext(local.Processes(jobs))
