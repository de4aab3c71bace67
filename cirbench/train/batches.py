"""Which samples each step trains on, and reading them: the same for any number of processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..data.dataset import CIRDataset
from ..data.sampler import Draw, TaskSampler
from .settings import DataSettings

KEPT = ("hq", "lq", "task_id", "latents")


class Steps:
    """Batches of draws from step ``start`` to ``stop``: each step's samples, in pieces.

    A step takes the next ``size`` draws of the balanced sequence. They are dealt to ``pieces``
    pieces in order; this process gets those with number ``rank``, ``rank + world``, ...

    Args:
        tasks: the task of every row.
        seed: decides the sequence.
        size: samples of a step, over all processes.
        pieces: of a step, over all processes.
        rank, world: this process among all.
        start, stop: steps.
    """

    def __init__(
        self,
        tasks: list[str],
        seed: int,
        size: int,
        pieces: int,
        rank: int,
        world: int,
        start: int,
        stop: int,
    ) -> None:
        self.sampler = TaskSampler(tasks, seed)
        self.size, self.pieces, self.rank, self.world = size, pieces, rank, world
        self.start, self.stop = start, stop

    def __len__(self) -> int:
        return (self.stop - self.start) * (self.pieces // self.world)

    def __iter__(self) -> Iterator[list[Draw]]:
        """The draws of every piece that is this process's."""
        state = self.sampler.state_dict(used=0)
        self.sampler.load_state_dict({**state, "epoch": 0, "position": self.start * self.size})
        draws = self._endless()
        for _ in range(self.start, self.stop):
            step = [next(draws) for _ in range(self.size)]
            for rows in spans(self.size, self.pieces)[self.rank :: self.world]:
                yield step[rows.start : rows.stop]

    def _endless(self) -> Iterator[Draw]:
        while True:
            yield from self.sampler


def spans(size: int, pieces: int) -> list[range]:
    """``pieces`` equal, consecutive spans of ``range(size)``."""
    width = size // pieces
    return [range(at, at + width) for at in range(0, size, width)]


def dataset(data: Any, settings: DataSettings, seed: int, **wanted: Any) -> CIRDataset:
    """The pairs of a data set as the settings want them. Raises what CIRDataset raises."""
    return CIRDataset(
        data,
        transform=settings.transform,
        size=settings.size,
        flips=settings.flips,
        pixels="uint8",
        seed=seed,
        cache=settings.cache or None,
        cache_gb=settings.cache_gb,
        on_mismatch=settings.on_mismatch,
        **wanted,
    )


def loader(
    source: Dataset[Any], steps: Any, settings: DataSettings, device: torch.device
) -> DataLoader[Any]:
    """A DataLoader over ``steps``' draws."""
    workers = settings.workers
    if workers < 0:
        # On a CPU the network needs the cores itself.
        workers = 1 if device.type == "cpu" else max(1, min(8, (os.cpu_count() or 1) - 1))
    return DataLoader(
        source,
        batch_sampler=steps,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        prefetch_factor=4 if workers else None,
    )


def collate(items: list[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Items of CIRDataset (or of latents) as one batch of tensors."""
    found = {}
    for name in KEPT:
        if name in items[0]:
            values = [item[name] for item in items]
            found[name] = torch.stack([torch.as_tensor(one) for one in values])
    return found


def to_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The batch on ``device``; 8-bit pictures become float32 in [0, 1]."""
    moved = {name: one.to(device, non_blocking=True) for name, one in batch.items()}
    return {
        name: one.float() / 255 if one.dtype == torch.uint8 else one for name, one in moved.items()
    }
