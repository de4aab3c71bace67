"""joblib's Ray backend, on a cluster that is there already or on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import joblib
from joblib.parallel import FallbackToBackend
from joblib.pool import MemmappingPool

from ..errors import CirbenchError, UnavailableError
from . import Needs, address

try:
    import ray
    from ray.exceptions import RayError
    from ray.util.joblib.ray_backend import RayBackend
except ImportError as _error:
    raise UnavailableError(
        f"--backend ray cannot be used ({_error}): pip install 'cirbench[ray]'"
    ) from _error

_ARGUMENTS = {"CPU": "num_cpus", "GPU": "num_gpus", "MEMORY": "memory"}
"""Ray's own resources; all others are custom ones."""
_RESOURCES = {"MEMORY": "memory"}
"""What Ray calls them in a node's account."""


class _Backend(RayBackend):
    """Ray's, with what it lacks (as of Ray 2.60) for results one by one and rows of unlike cost."""

    supports_return_generator = True

    def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
        """At least 2: joblib runs work for one worker in the calling process, not there."""
        try:
            super().configure(n_jobs, parallel, **options)
        except FallbackToBackend:
            self._pool = MemmappingPool(1, ray_remote_args=self.ray_remote_args)
            self.parallel = parallel
        self._load = [0] * n_jobs
        return max(2, n_jobs)

    def submit(self, func: Any, callback: Callable[[Any], None] | None = None) -> Any:
        """Give it to the worker that has the least to do; Ray's pool deals out in turn."""
        index = min(range(len(self._load)), key=self._load.__getitem__)
        load = self._load
        load[index] += 1

        def done(out: Any) -> None:
            load[index] -= 1
            if callback is not None:
                callback(out)

        self._pool._current_index = index - 1  # it takes the next one
        return super().submit(func, done)

    def terminate(self) -> None:
        """End the workers at once: told to end by themselves, they count as lost and come back."""
        if self._pool is not None:
            for actor, _ in self._pool._actor_pool:
                ray.kill(actor)
            self._pool._actor_pool = []
        super().terminate()


@dataclass(frozen=True)
class _Cluster:
    jobs: int | None
    lost: tuple[type[BaseException], ...] = (RayError,)

    def count(self, needs: Needs) -> int:
        """Rows that fit the nodes; one without needs takes one CPU."""
        wanted = {"CPU": 1.0} | dict(needs)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        fits = [
            min(
                int(node.get(_RESOURCES.get(name, name), 0) // amount)
                for name, amount in wanted.items()
            )
            for node in nodes
        ]
        if not sum(fits):
            text = " ".join(f"{name}={amount:g}" for name, amount in wanted.items())
            raise CirbenchError(f"no node of the Ray cluster has {text}; see: ray status")
        return min(sum(fits), self.jobs or sum(fits))

    def parallel(self, needs: Needs) -> joblib.Parallel:
        wanted = {"CPU": 1.0} | dict(needs)
        own = {_ARGUMENTS[name]: amount for name, amount in wanted.items() if name in _ARGUMENTS}
        if "memory" in own:
            own["memory"] = int(own["memory"])
        custom = {name: amount for name, amount in wanted.items() if name not in _ARGUMENTS}
        # A worker that is lost comes back where there is room, with what it had to do: attempts
        # are counted by its notes, not by Ray, which counts what merely waited there, too.
        arguments = {**own, "resources": custom, "max_restarts": -1, "max_task_retries": -1}
        return joblib.Parallel(
            n_jobs=self.count(needs),
            backend=_Backend(ray_remote_args=arguments),
            return_as="generator_unordered",
            pre_dispatch=2 * self.count(needs),
            batch_size=1,
        )


@contextlib.contextmanager
def connect(scheduler: str, jobs: int | None) -> Iterator[_Cluster]:
    """The cluster at an address; "" is ``RAY_ADDRESS``, one on this machine, or a new one here.

    Raises CirbenchError when nobody answers there. A cluster that this process is connected to
    already is used, and stays.
    """
    if ray.is_initialized():
        yield _Cluster(jobs)
        return
    where = scheduler or os.environ.get("RAY_ADDRESS", "")
    if where.startswith("ray://"):
        raise CirbenchError(
            f"{where} is for Ray's client; run cirbench on a node of the cluster and give the "
            "address that ray start printed, as in head:6379"
        )
    if ":" in where:
        address.check(where, "Ray cluster", "head:6379", "ray start")
    try:
        ray.init(address=where or None, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise CirbenchError(
            f"no Ray cluster answers at {where or 'this machine'} ({said[0]}); give --scheduler "
            "the address that ray start printed"
        ) from error
    try:
        yield _Cluster(jobs)
    finally:
        ray.shutdown()
