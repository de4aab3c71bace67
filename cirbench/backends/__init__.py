"""Where rows run: threads of this process, processes of this machine, a Dask or a Ray cluster.

joblib runs them in every case. Workers read sources and write files; what travels is what a row is
(a path, a task) and what the journal keeps of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import CirbenchError

NAMES = ("threading", "loky", "dask", "ray")
"""``loky`` are processes of this machine, by joblib's name."""

Needs = tuple[tuple[str, float], ...]
"""What one row needs of a worker, by name and sorted: ``(("GPU", 1.0), ("MEMORY", 8e9))``."""


@dataclass(frozen=True)
class Backend:
    """What was chosen to run rows.

    Attributes:
        name: one of :data:`NAMES`.
        scheduler: address of the cluster (``tcp://head:8786``, ``head:6379``), or, for Dask,
            its ``--scheduler-file``; "" for what the environment says.
        resources: what a row of a codec needs of a worker, by codec, then by resource; see
            ``docs/cluster.md``.
    """

    name: str = "threading"
    scheduler: str = ""
    resources: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what does not fit together, in one sentence."""
        if self.name not in NAMES:
            legal = ", ".join(NAMES)
            raise CirbenchError(f"backend cannot be {self.name!r}; it is one of {legal}")
        clusters = "use --backend dask or --backend ray"
        if self.scheduler and not self.is_cluster:
            raise CirbenchError(f"--scheduler is the address of a cluster; {clusters}")
        if self.resources and not self.is_cluster:
            raise CirbenchError(f"--resources are those of a cluster's workers; {clusters}")
        for amounts in self.resources.values():
            for name, amount in amounts.items():
                if not (math.isfinite(amount) and amount > 0):
                    raise CirbenchError(f"--resources: {name} cannot be {amount:g}; it is above 0")

    @property
    def is_cluster(self) -> bool:
        """Rows may run on other machines."""
        return self.name in ("dask", "ray")

    @property
    def is_here(self) -> bool:
        """Rows run in this process."""
        return self.name == "threading"

    def check_resources(self, known: Iterable[str], what: str) -> None:
        """Raise CirbenchError for resources of something that is not ``known`` (``what`` it is)."""
        known = list(known)
        for name in self.resources:
            if name not in known:
                legal = ", ".join(known)
                raise CirbenchError(f"--resources: {name!r} is no {what} here; there is {legal}")

    def needs(self, name: str) -> Needs:
        """What a row of ``name`` needs of a worker."""
        return tuple(sorted(self.resources.get(name, {}).items()))

    def groups(self, names: Iterable[str]) -> dict[Needs, frozenset[str]]:
        """``names`` by what their rows need; those that need something first."""
        found: dict[Needs, set[str]] = {}
        for name in names:
            found.setdefault(self.needs(name), set()).add(name)
        return {needs: frozenset(found[needs]) for needs in sorted(found, reverse=True)}


THREADS = Backend()
"""Nothing but this process: the default everywhere."""


def parse_resources(texts: Iterable[str]) -> dict[str, dict[str, float]]:
    """Resources written as ``hific=GPU:1,MEMORY:8e9``, one text for each codec.

    Raises CirbenchError for a text that is something else.
    """
    found: dict[str, dict[str, float]] = {}
    for text in texts:
        name, equals, listed = text.partition("=")
        try:
            pairs = [part.split(":") for part in listed.split(",")]
            amounts = {resource.strip(): float(amount) for resource, amount in pairs}
        except ValueError:
            amounts = {}
        if not (name and equals and amounts and all(amounts)):
            raise CirbenchError(f"--resources {text!r} is not CODEC=NAME:AMOUNT[,NAME:AMOUNT]")
        found.setdefault(name, {}).update(amounts)
    return found
