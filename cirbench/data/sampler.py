"""Balanced sampling over tasks: every task equally often, whatever its number of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import CirbenchError


class Draw(NamedTuple):
    """One sample to be made. ``CIRDataset`` takes it in place of an index.

    Attributes:
        row: its number in the data set.
        epoch: epoch it is drawn in.
        number: its number in the epoch over all ranks; with the epoch and the seed it decides the
            crop, so that a row drawn twice, or on two ranks, is not cut twice in the same place.
    """

    row: int
    epoch: int
    number: int


class TaskSampler:
    """Draws rows so that every task comes equally often; for a ``DataLoader`` or a plain loop.

    An epoch is a number of blocks; a block holds every task once, in a random order of its own.
    A task's rows are all used, over ranks and epochs, before one comes again. Every draw follows
    from (seed, epoch, position) alone, so any place in the sequence can be gone to at once.

    >>> sampler = TaskSampler(dataset.tasks, seed=1, rank=rank, world_size=4)
    >>> loader = DataLoader(dataset, batch_size=32, sampler=sampler, num_workers=8)
    >>> for epoch in range(100):
    ...     sampler.set_epoch(epoch)
    ...     for step, batch in enumerate(loader): ...
    ...     # in a checkpoint: sampler.state_dict(used=(step + 1) * 32)

    Args:
        tasks: the task of every row.
        seed: decides the whole sequence.
        rank, world_size: this process among those that share an epoch.
        samples: draws in an epoch over all ranks, rounded to whole blocks; None: one per row.

    Raises CirbenchError when there are no rows or the rank is not one of the world.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        samples: int | None = None,
    ) -> None:
        if not len(tasks):
            raise CirbenchError("there are no rows to sample from; check the filters")
        if not 0 <= rank < world_size:
            raise CirbenchError(
                f"rank {rank} is not one of {world_size} processes (0 is the first)"
            )
        names, codes = np.unique(np.asarray(tasks), return_inverse=True)
        order = np.argsort(codes, kind="stable")
        self._rows = np.split(order, np.cumsum(np.bincount(codes))[:-1])
        self._tasks = [str(name) for name in names]
        self.seed, self.rank, self.world_size = seed, rank, world_size
        share = len(names) * world_size
        self.blocks = max(1, round((len(tasks) if samples is None else samples) / share))
        self.epoch = 0
        self._start = self._position = 0
        self._orders: dict[int, tuple[int, NDArray[np.intp]]] = {}

    def __len__(self) -> int:
        """Draws of this rank in an epoch."""
        return self.blocks * len(self._rows)

    def __iter__(self) -> Iterator[Draw]:
        """The epoch's draws from the resumed position on; after a whole epoch, the next one's."""
        if self._position == len(self):
            self.epoch, self._start = self.epoch + 1, 0
        epoch, block = self.epoch, None
        self._position = self._start
        for position in range(self._start, len(self)):
            number, slot = divmod(position, len(self._rows))
            if block is None or slot == 0:
                block = self._permutation((epoch, self.rank, number), len(self._rows))
            row = self._row(int(block[slot]), epoch, number)
            self._position = position + 1
            yield Draw(row, epoch, position * self.world_size + self.rank)

    def _row(self, task: int, epoch: int, block: int) -> int:
        """The row of ``task`` in one block of this rank."""
        rows = self._rows[task]
        turn = (epoch * self.blocks + block) * self.world_size + self.rank
        cycle, place = divmod(turn, len(rows))
        if self._orders.get(task, (-1,))[0] != cycle:
            self._orders[task] = (cycle, self._permutation((task, cycle), len(rows)))
        return int(rows[self._orders[task][1][place]])

    def _permutation(self, key: tuple[int, ...], size: int) -> NDArray[np.intp]:
        return np.random.default_rng((self.seed, len(key), *key)).permutation(size)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of ``epoch``; does nothing when a state of that epoch was loaded."""
        if epoch != self.epoch or self._position == len(self):
            self.epoch, self._start, self._position = epoch, 0, 0

    def state_dict(self, used: int | None = None) -> dict[str, Any]:
        """Where the sequence is; JSON-able.

        Args:
            used: samples of this epoch that this rank has really trained on. A DataLoader with
                workers fetches ahead; None is right only without workers.
        """
        position = self._position if used is None else used
        return {"epoch": self.epoch, "position": position, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken. Raises CirbenchError for one of another sequence."""
        for name, mine in self._identity().items():
            if state.get(name) != mine:
                raise CirbenchError(
                    f"the sampler's state has {name} {state.get(name)!r}, here it is {mine!r}; "
                    "resume with the data and options it was saved with"
                )
        finished, position = divmod(int(state["position"]), len(self))
        self.epoch = int(state["epoch"]) + finished
        self._start = self._position = position

    def _identity(self) -> dict[str, Any]:
        """What decides the sequence; the rank is not part of it: one state fits all ranks."""
        rows = {name: len(rows) for name, rows in zip(self._tasks, self._rows, strict=True)}
        return {
            "seed": self.seed,
            "world_size": self.world_size,
            "blocks": self.blocks,
            "rows": rows,
        }
