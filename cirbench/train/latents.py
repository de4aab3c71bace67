"""Stage II's data: latents restored with stage I's weights, made once, kept, and gone on with.

A shard is a safetensors file of 32 samples, the last one of what is left: ``latents`` float16
(n, C, h, w), ``hq`` and ``lq`` uint8 (n, 3, H, W), ``task_id`` int64 (n,). Which samples it holds
follows from its number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from .. import tensors
from ..data.dataset import CIRDataset
from ..errors import CirbenchError
from .batches import KEPT, Steps, collate, to_device
from .noise import seed_of

SHARD = 32
_NOTE = "latents.json"


class Latents(Dataset[dict[str, Tensor]]):
    """The samples of a folder of shards, by the number of a draw; read from the files each time.

    Args:
        folder: of the shards, all made.
        count: samples.

    Attributes:
        tasks: the task of every sample, for ``TaskSampler``.

    Raises CirbenchError when a shard cannot be read, here and when a sample is asked for.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, tasks = folder, []
        for number in range(-(-count // SHARD)):
            with _shard(folder / _name(number)) as file:
                tasks += file.get_tensor("task_id").tolist()
        self.tasks = [str(one) for one in tasks[:count]]

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, item: Any) -> dict[str, Tensor]:
        """One sample; ``item`` is a ``Draw``."""
        number, at = divmod(item.row, SHARD)
        with _shard(self.folder / _name(number)) as file:
            found = {name: file.get_slice(name)[at : at + 1][0] for name in KEPT}
        return {**found, "latents": found["latents"].float()}


def begin(folder: Path, key: dict[str, Any]) -> None:
    """Ready the folder, before any process makes shards: those of another key are deleted.

    Args:
        folder: for the shards.
        key: what decides the samples (the weights' hash, the data's configuration).
    """
    note = json.dumps(key, sort_keys=True)
    folder.mkdir(parents=True, exist_ok=True)
    if _noted(folder) != note:
        for old in folder.glob("*.safetensors"):
            old.unlink()
        _write_text(folder / _NOTE, note)


def make(
    folder: Path,
    data: CIRDataset,
    count: int,
    sample: Callable[[Tensor, list[int]], Tensor],
    seed: int,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
) -> None:
    """Make the shards that are not there yet; process ``rank`` of ``world`` makes its share.

    Args:
        folder: of the shards; see :func:`begin`.
        data: the pairs.
        count: samples. A shard that an earlier, smaller count left short is made anew; one that
            is longer is kept.
        sample: ``sample(lq, seeds) -> latents``.
        seed: of the run.
        device: where ``sample`` runs.

    Raises CirbenchError when a shard cannot be read.
    """
    sizes = {number: min(SHARD, count - at) for number, at in enumerate(range(0, count, SHARD))}
    wanted = list(sizes)[rank::world]
    missing = [number for number in wanted if _held(folder / _name(number)) < sizes[number]]
    quiet = None if missing and rank == 0 else True
    for number in tqdm(missing, unit="shard", desc="latents", disable=quiet):
        size = sizes[number]
        draws = next(iter(Steps(data.tasks, seed, SHARD, 1, 0, 1, number, number + 1)))[:size]
        batch = collate([data[draw] for draw in draws])
        seeds = [seed_of(seed, "latents", number, index) for index in range(size)]
        lq = to_device(batch, device)["lq"]
        made = torch.cat([sample(lq[at : at + 8], seeds[at : at + 8]) for at in range(0, size, 8)])
        shard = {**batch, "latents": made.half().cpu().contiguous()}
        tensors.save(shard, folder / _name(number))


def _name(number: int) -> str:
    return f"{number:06d}.safetensors"


def _noted(folder: Path) -> str:
    path = folder / _NOTE
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _write_text(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _held(path: Path) -> int:
    """How many samples a shard holds; 0 when it is not there."""
    if not path.is_file():
        return 0
    with _shard(path) as file:
        return int(file.get_slice("task_id").get_shape()[0])


@contextmanager
def _shard(path: Path) -> Iterator[Any]:
    """An open shard. Raises CirbenchError, here and inside, when it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise CirbenchError(f"{path} is damaged ({error}); delete it and resume") from error
