"""joblib's Dask backend, on a cluster that is there already."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib

from ..errors import CirbenchError, UnavailableError
from . import Needs
from . import address as _address

try:
    import dask.config
    from distributed import Client
    from distributed.scheduler import KilledWorker
    from joblib._dask import DaskDistributedBackend
except ImportError as _error:
    raise UnavailableError(
        f"--backend dask cannot be used ({_error}): pip install 'cirbench[dask]'"
    ) from _error

_JOIN = 60
"""Seconds the first worker has to join it."""
_AHEAD = 1024
"""Rows the scheduler is given at least, so that workers that join later find some."""


class _Backend(DaskDistributedBackend):
    """joblib's, with what it lacks (as of joblib 1.6) for work that outlives its workers."""

    def effective_n_jobs(self, n_jobs: int) -> int:
        """At least 2: joblib runs work for one worker in the calling process, not there."""
        return max(2, int(super().effective_n_jobs(n_jobs)))

    def submit(self, func: Any, callback: Callable[[Any], None] | None = None) -> Any:
        """Call back also when Dask gives a task up; joblib waits for that for ever."""
        future = super().submit(func, callback)

        def give_up(done: Future[Any]) -> None:
            problem = done.exception()
            if problem is not None and callback is not None:
                callback(problem)

        future.add_done_callback(give_up)
        return future

    def retrieve_result_callback(self, out: Any) -> Any:
        """Say in a sentence that the scheduler is gone, or someone else cancelled the task."""
        if isinstance(out, (asyncio.CancelledError, concurrent.futures.CancelledError)):
            raise CirbenchError(
                "the Dask scheduler was lost; when it runs again, run the same command again: what "
                "was finished is kept"
            )
        return super().retrieve_result_callback(out)


@dataclass(frozen=True)
class _Cluster:
    client: Client
    address: str
    jobs: int | None
    lost: tuple[type[BaseException], ...] = (KilledWorker,)

    def count(self, needs: Needs) -> int:
        """Threads of all workers, or rows that fit the workers' resources."""
        if not needs:
            return min(max(1, sum(self.client.ncores().values())), self.jobs or 1 << 30)
        workers = self.client.run_on_scheduler(
            lambda dask_scheduler: [one.resources for one in dask_scheduler.workers.values()]
        )
        fits = [min(int(one.get(name, 0) // amount) for name, amount in needs) for one in workers]
        if not sum(fits):
            wanted = " ".join(f"{name}={amount:g}" for name, amount in needs)
            raise CirbenchError(
                f"no worker of the Dask cluster at {self.address} offers {wanted}; start some "
                f"with: dask worker {self.address} --resources '{wanted}'"
            )
        return min(sum(fits), self.jobs or sum(fits))

    def parallel(self, needs: Needs) -> joblib.Parallel:
        options = {"resources": dict(needs)} if needs else {}
        backend = _Backend(client=self.client, wait_for_workers_timeout=_JOIN, **options)
        return joblib.Parallel(
            backend=backend,
            return_as="generator_unordered",
            pre_dispatch=self.jobs or max(_AHEAD, 4 * self.count(needs)),
            batch_size=1,
        )


@contextlib.contextmanager
def connect(scheduler: str, jobs: int | None) -> Iterator[_Cluster]:
    """The cluster at an address, or of a scheduler file; "" is Dask's own configuration.

    Raises CirbenchError when nobody answers there or no worker joins.
    """
    address = scheduler or dask.config.get("scheduler-address", None)
    if not address:
        raise CirbenchError(
            "--backend dask needs the address of a scheduler: --scheduler tcp://HOST:8786 (start "
            "one with: dask scheduler)"
        )
    if address.endswith(".json"):
        where = {"scheduler_file": address}
        if not Path(address).is_file():  # Dask would wait for it without end
            raise CirbenchError(
                f"there is no scheduler file {address}; start the scheduler with: dask scheduler "
                f"--scheduler-file {address}"
            )
    else:
        where = {"address": address}
        _address.check(address, "Dask scheduler", "tcp://head:8786", "dask scheduler")
    with contextlib.ExitStack() as stack:
        try:
            with _quiet():
                client = Client(
                    **where, timeout=_address.SECONDS, set_as_default=False, name="cirbench"
                )
            stack.enter_context(client)
        except (OSError, ValueError) as error:
            raise CirbenchError(
                f"no Dask scheduler answers at {address} ({_short(error)}); give --scheduler the "
                "address that dask scheduler printed"
            ) from error
        try:
            client.wait_for_workers(1, timeout=_JOIN)
        except TimeoutError as error:
            raise CirbenchError(
                f"the Dask scheduler at {address} has had no workers for {_JOIN} s; start some "
                f"with: dask worker {address}"
            ) from error
        yield _Cluster(client, address, jobs)


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Dask's own report of an address that does not answer."""
    log = logging.getLogger("distributed")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)
