"""Work in threads that may have to end early, with nothing left half-written."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .codecs import processes

_PATIENCE = 10.0  # seconds; only codecs that run inside Python take that long to notice


class Dismissed(Exception):
    """A call that came too late: nobody wants its result any more."""


class Crew:
    """Counts calls in flight: threads outlive the joblib.Parallel that is abandoned.

    Without this a thread could still write into a folder whose lock its owner has given up.
    """

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._busy = 0
        self._over = False

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """``function(*args)``. Raises Dismissed when the crew is."""
        with self._change:
            if self._over:
                raise Dismissed
            self._busy += 1
        try:
            return function(*args)
        finally:
            with self._change:
                self._busy -= 1
                self._change.notify_all()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Around the loop over results: when that ends early, so do the calls in flight.

        Encoders are killed. A codec that runs inside Python is waited for a few seconds, and can
        then write nothing but its own file, which the next build makes again.
        """
        try:
            yield
        except BaseException:
            with self._change:
                self._over = True
            with processes.stopped():
                self._wait()
            raise

    def _wait(self) -> None:
        end = time.monotonic() + _PATIENCE
        with self._change:
            while self._busy and time.monotonic() < end:
                self._change.wait(end - time.monotonic())
