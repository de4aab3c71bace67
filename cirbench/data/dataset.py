"""The torch data set: HQ/LQ pairs of a manifest, cut, turned and ready for a DataLoader."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..codecs import RGB
from ..errors import CirbenchError, UnavailableError
from ..manifest import Manifest
from .cache import TileCache
from .reader import Reader, select
from .sampler import Draw
from .transforms import Transform, generator, turn

try:
    import torch
    from torch.utils.data import Dataset
except ImportError as error:
    raise UnavailableError("CIRDataset needs torch; run pip install 'torch>=2.4'") from error

if TYPE_CHECKING:
    from torch import Tensor

PIXELS = ("float32", "uint8")


class CIRDataset(Dataset[dict[str, Any]]):  # type: ignore[misc, unused-ignore]
    """HQ/LQ pairs for training and testing.

    >>> data = CIRDataset("data/cir", split="train", kind="seen", cache="~/.cache/crops")
    >>> sampler = TaskSampler(data.tasks)
    >>> for batch in DataLoader(data, batch_size=32, sampler=sampler, num_workers=8):
    ...     batch["lq"], batch["hq"], batch["task"]

    An item holds ``lq`` and ``hq``, tensors (3, h, w), float32 in [0, 1] or uint8; ``task``,
    ``task_id`` (-1 where the recipe has no number for it), ``codec``, ``level`` and ``row_id``.

    What is cut and turned how follows from (seed, epoch, number), never from a worker: the same for
    any number of workers. ``number`` is the sampler's (see ``Draw``), or the index itself with any
    other sampler; then call ``set_epoch``, which reaches running workers, too.

    The pixels of a file are compared with the manifest's hash when it is first read, once for all
    workers and epochs (once per worker where memory is not shared). See ``Reader``.

    Args:
        data: a data set's folder, or an open Manifest.
        transform: ``crop``, ``resize`` or ``none``; see ``transforms``.
        size: side of the crop or of the scaled picture.
        flips: also flip and turn both pictures, at random.
        pixels: ``float32`` or ``uint8``.
        seed: decides crops and turns.
        cache: folder for decoded pictures; None for none.
        cache_gb: limit of the cache in GB (10^9 bytes).
        on_mismatch: ``error`` or ``warn`` when LQ pixels decoded here are not the recorded ones; an
            open Manifest has its own.
        wanted: column=value or column=[values]: kind, codec, level, task, set, split, ...

    Attributes:
        config: everything above that decides the samples, and which rows; JSON-able, to be stored
            in a checkpoint.
        tasks: the task of every row, for ``TaskSampler``.

    Raises CirbenchError for a wrong option, no such rows, pictures smaller than the crop, and rows
    of a slow decoder without stored pixels; UnavailableError without torch.
    """

    def __init__(
        self,
        data: str | Path | Manifest,
        *,
        transform: str = "crop",
        size: int = 256,
        flips: bool = True,
        pixels: str = "float32",
        seed: int = 0,
        cache: str | Path | None = None,
        cache_gb: float = 50.0,
        on_mismatch: str = "error",
        **wanted: Any,
    ) -> None:
        if pixels not in PIXELS:
            raise CirbenchError(f"pixels cannot be {pixels!r}; it is one of {', '.join(PIXELS)}")
        if seed < 0:
            raise CirbenchError(f"seed cannot be {seed}; it is at least 0")
        self.transform = Transform(transform, size, flips)
        manifest = (
            data if isinstance(data, Manifest) else Manifest.open(data, on_mismatch=on_mismatch)
        )
        chosen = select(manifest, **wanted)
        if transform == "crop":
            _refuse_small(chosen, size)
        tiles = None if cache is None else TileCache(cache, int(cache_gb * 1e9))
        self._reader = Reader(chosen, tiles, resized=size if transform == "resize" else None)
        # Shared with the workers, whenever they were started.
        self._reader.checked = _shared(torch.from_numpy(self._reader.checked))
        self._epoch = _shared(torch.zeros(1, dtype=torch.int64))
        self.pixels, self.seed = pixels, seed
        self.tasks: list[str] = chosen.table["task"].to_pylist()
        ids = "\n".join(chosen.table["row_id"].to_pylist())
        self.config: dict[str, Any] = {
            **self.transform.as_dict(),
            "pixels": pixels,
            "seed": seed,
            "wanted": {name: _plain(value) for name, value in wanted.items()},
            "tasks": sorted(set(self.tasks)),
            "rows": len(chosen),
            "rows_sha256": hashlib.sha256(ids.encode()).hexdigest(),
        }

    def __len__(self) -> int:
        return len(self.tasks)

    def set_epoch(self, epoch: int) -> None:
        """Draw the crops of ``epoch`` from now on. ``TaskSampler`` makes this unnecessary."""
        self._epoch[0] = epoch

    def __getitem__(self, item: int | Draw) -> dict[str, Any]:
        """One sample. Raises InputError or CodecError naming a file that cannot be used."""
        index, epoch, number = (
            item if isinstance(item, Draw) else Draw(int(item), int(self._epoch[0]), int(item))
        )
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        row = self._reader.row(index)
        rng = generator(self.seed, epoch, number)
        box, turned = self.transform.draw(rng, row["height"], row["width"])
        hq, lq = (read(index, row, box) for read in (self._reader.hq, self._reader.lq))
        return {
            "lq": self._tensor(turn(lq, turned)),
            "hq": self._tensor(turn(hq, turned)),
            "task": row["task"],
            "task_id": -1 if row["task_id"] is None else row["task_id"],
            "codec": row["codec"],
            "level": row["level"],
            "row_id": row["row_id"],
        }

    def _tensor(self, rgb: RGB) -> Tensor:
        """(h, w, 3) uint8 to (3, h, w), contiguous."""
        tensor = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))
        return tensor if self.pixels == "uint8" else tensor.to(torch.float32).div_(255)


def _shared(tensor: Tensor) -> Tensor:
    shared: Tensor = tensor.share_memory_()  # type: ignore[no-untyped-call, unused-ignore]
    return shared


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple, set)) else value


def _refuse_small(manifest: Manifest, size: int) -> None:
    """Raise CirbenchError when a crop does not fit into every picture."""
    table = manifest.table
    fits = np.minimum(np.asarray(table["width"]), np.asarray(table["height"])) >= size
    if not fits.all():
        row = table.slice(int(np.argmin(fits)), 1).to_pylist()[0]
        raise CirbenchError(
            f"{int((~fits).sum())} pictures are smaller than the crop of {size}, {row['hq_path']} "
            f"({row['width']}x{row['height']}) is one; choose a smaller size or other rows"
        )
