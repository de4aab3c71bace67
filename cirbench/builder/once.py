"""A few values kept by key, each made once however many threads want it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class Once(Generic[Value]):
    """The last ``size`` values made.

    Threads that want a value another thread is making wait for it instead of making it again.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._values: OrderedDict[tuple[Any, ...], Future[Value]] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process starts empty: pixels are not worth sending."""
        return Once, (self._size,)

    def get(self, key: tuple[Any, ...], make: Callable[[], Value]) -> Value:
        """The value of ``key``, made when it is not there. An exception of ``make`` is kept too."""
        with self._lock:
            future = self._values.get(key)
            mine = future is None
            if future is None:
                future = self._values[key] = Future()
                while len(self._values) > self._size:
                    self._values.popitem(last=False)
        if mine:
            try:
                future.set_result(make())
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def clear(self, size: int) -> None:
        """Forget all values; keep the last ``size`` from now on."""
        with self._lock:
            self._size = size
            self._values.clear()
