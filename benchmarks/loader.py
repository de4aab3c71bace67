"""Training samples per second: CIRDataset against the usual loader, side by side.

    python benchmarks/loader.py [--photos 4] [--rounds 3] [--workers 0,2] [--samples 12]
        [--codec jpeg,webp,hevc,vvc,avc]

Photos of 2040x1356 as PNG (Pillow's default options), their LQ at level 10 (JPEG, WebP) or QP 37;
256x256 crops at random places, flips and turns, float32 tensors, batches of 4, a torch DataLoader
without workers or with 2, both contestants on the same cores. All files are in the page cache.

The usual loader is what restoration repositories do for a folder of HQ and a folder of LQ images,
both PNGs by Pillow's default options: open both with Pillow, convert to RGB, turn into arrays, cut
the same place out of both, flip, turn, float32, divide by 255. It hashes nothing.

cirbench in these rows:

* bitstream: HQ from the photo's PNG, LQ decoded from the bitstream; both only down to the end of
  the crop where the format allows it (PNG, JPEG, WebP). What a file's first reading costs more
  (it is decoded whole and compared with its hash) is in the row "first reading", not in the others.
* stored PNG: HQ from the photo's PNG, LQ from the PNG that cirbench stored: for c_psnr, c_ssim and
  hific always, for HEVC, VVC and AVC with --store png. Measured on the WebP's pixels, said to be
  HiFiC's: what the loader does depends on nothing else.
* crop cache: the same rows once HQ and LQ are in the cache; filling it is not in the number.
* HQ in the cache: LQ from the bitstream. (In practice: a cache too small for both.)
* sub-images: photos cut into 512x512 PNGs beforehand, which a data set was built of. The
  ratio is to the usual loader on the whole photos, which is what sub-images are made to avoid; to
  the usual loader on the same sub-images it is the second number.
* tile rows: a data set built of the whole photos with tile=512.

The contestants take turns, a pass of so many samples each; medians of wall seconds, and without
workers of CPU milliseconds per sample, too. Starting the workers counts for neither. The last lines
of a codec say where a sample's time goes, without workers.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import torch
from common import alternate, fresh_folders, line, machine, mosaics
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import cirbench
from cirbench import CIRDataset, Manifest
from cirbench.builder import store
from cirbench.codecs import RGB
from cirbench.data.cache import TileCache

SIZE, SUB = 256, 512
LEVELS: dict[str, dict[str, Any]] = {
    "jpeg": {"quality": 10},
    "webp": {"quality": 10},
    "hevc": {"qp": 37, "preset": "medium"},
    "vvc": {"qp": 37, "preset": "faster"},
    "avc": {"qp": 37, "preset": "medium"},
}


class UsualLoader(Dataset[dict[str, Any]]):
    """What people write: a list of pairs of PNGs."""

    def __init__(self, pairs: Sequence[tuple[Path, Path]]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        hq, lq = (np.array(Image.open(file).convert("RGB")) for file in self.pairs[index])
        top, left = (random.randint(0, side - SIZE) for side in hq.shape[:2])
        flips = [random.random() < 0.5 for _ in range(3)]
        item = {}
        for name, rgb in (("hq", hq), ("lq", lq)):
            rgb = rgb[top : top + SIZE, left : left + SIZE]
            rgb = rgb[:, ::-1] if flips[0] else rgb
            rgb = rgb[::-1] if flips[1] else rgb
            rgb = rgb.transpose(1, 0, 2) if flips[2] else rgb
            rgb = np.ascontiguousarray(rgb.transpose(2, 0, 1)).astype(np.float32) / 255
            item[name] = torch.from_numpy(rgb)
        return item


@dataclass
class Contestant:
    """A data set and its loader.

    Attributes:
        samples: in a pass.
        forget: every pass is a first reading: nothing was compared with its hash before.
    """

    label: str
    dataset: Dataset[Any]
    samples: int
    forget: bool = False
    epoch: int = 0

    def loader(self, workers: int) -> DataLoader[Any]:
        """A loader whose workers run already."""
        rows = len(self.dataset)  # type: ignore[arg-type]
        loader = DataLoader(
            self.dataset,
            batch_size=4,
            sampler=[index % rows for index in range(self.samples)],
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        if isinstance(self.dataset, CIRDataset):  # compares all hashes and fills the cache
            for index in range(rows):
                self.dataset[index]
        self.load(loader)
        return loader

    def load(self, loader: DataLoader[Any]) -> None:
        """One pass, with crops of its own."""
        if isinstance(self.dataset, CIRDataset):
            self.epoch += 1
            self.dataset.set_epoch(self.epoch)
            if self.forget:
                self.dataset._reader.checked.zero_()
        assert sum(len(batch["lq"]) for batch in loader) == self.samples


def png_pairs(data: Path, photos: Sequence[Path], folder: Path) -> UsualLoader:
    """The usual loader's files: a data set's LQ as PNGs of Pillow's default options."""
    folder.mkdir()
    pairs = []
    by_name = {photo.name: photo for photo in photos}
    for row, _, lq in cirbench.Pairs(data):
        pairs.append((by_name[row["hq_path"]], folder / row["hq_path"]))
        Image.fromarray(lq).save(pairs[-1][1])
        pairs[-1][1].read_bytes()
    return UsualLoader(pairs)


def stored_as_slow(data: Path) -> Manifest:
    """The data set with its LQ as stored PNGs, said to be of a codec that decodes slowly."""
    manifest = Manifest.open(data).usable
    paths = []
    for row in manifest:
        paths.append(f"lq/{row['hq_path']}")
        store.write(data, paths[-1], store.encode_png(manifest.lq(row)))
    table = manifest.table
    for name, values in (("codec", ["hific"] * len(paths)), ("lq_path", paths)):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(values, pa.string()))
    return Manifest(manifest.folder, table, manifest.metadata)


def sub_images(photos: Sequence[Path], folder: Path) -> list[Path]:
    """The photos as 512x512 PNGs, without overlap."""
    folder.mkdir()
    files = []
    for photo in photos:
        with Image.open(photo) as image:
            for top in range(0, image.height - SUB + 1, SUB):
                for left in range(0, image.width - SUB + 1, SUB):
                    files.append(folder / f"{photo.stem}-{top}-{left}.png")
                    image.crop((left, top, left + SUB, top + SUB)).save(files[-1])
    return files


def only_hq_cached(data: Path, folder: Path) -> CIRDataset:
    """A data set whose cache holds the HQ pictures and has no room for more."""
    cache = TileCache(folder, 10**12)
    for row, hq, _ in cirbench.Pairs(data):
        cache.put(row["hq_sha256"], hq)
    dataset = CIRDataset(data, cache=folder, cache_gb=(cache.bytes + 1) / 1e9)
    for row in Manifest.open(data):  # now they are in use and stay
        dataset._reader.cache.get(row["hq_sha256"], (row["height"], row["width"]))
    return dataset


def bound(dataset: CIRDataset) -> str:
    """Shares of a sample's time: reading HQ, reading LQ, and everything else."""
    reader, spent = dataset._reader, dict.fromkeys(("HQ", "LQ", "rest"), 0.0)

    def timed(name: str, read: Callable[..., RGB]) -> Callable[..., RGB]:
        def reading(*args: Any) -> RGB:
            start = time.perf_counter()
            pixels = read(*args)
            spent[name] += time.perf_counter() - start
            return pixels

        return reading

    work = [(epoch, index) for epoch in range(6) for index in range(len(dataset))]
    hq, lq = timed("HQ", reader.hq), timed("LQ", reader.lq)
    with patch.object(reader, "hq", hq), patch.object(reader, "lq", lq):
        start = time.perf_counter()
        for epoch, index in work:
            dataset.set_epoch(epoch)
            dataset[index]
        total = time.perf_counter() - start
    spent["rest"] = total - spent["HQ"] - spent["LQ"]
    shares = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in spent.items())
    return f"{1000 * total / len(work):.1f} ms: {shares}"


def compare(
    title: str,
    usual: Dataset[Any],
    ours: dict[str, CIRDataset],
    workers: int,
    samples: int,
    rounds: int,
) -> None:
    """Print one block of the table."""
    contestants = [Contestant("usual loader", usual, samples)]
    for label, dataset in ours.items():
        first = label == "first reading"
        contestants.append(
            Contestant(label, dataset, len(dataset) if first else samples, forget=first)
        )
    loaders = [contestant.loader(workers) for contestant in contestants]
    works = [partial(c.load, loader) for c, loader in zip(contestants, loaders, strict=True)]
    costs = alternate(rounds, *works)
    rates = [c.samples / cost.wall for c, cost in zip(contestants, costs, strict=True)]
    line(f"{title}, {workers} workers", "samples/s", "ratio", "" if workers else "CPU ms")
    for contestant, rate, cost in zip(contestants, rates, costs, strict=True):
        cpu = "" if workers else f"{1000 * cost.own / contestant.samples:.1f}"
        line(f"  {contestant.label}", f"{rate:.1f}", f"{rate / rates[0]:.1f}x", cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=12)
    parser.add_argument("--workers", default="0,2")
    parser.add_argument("--codec", default=",".join(LEVELS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    with fresh_folders() as new:
        photos = mosaics(new(), options.photos)
        for codec in options.codec.split(","):
            level, out = LEVELS[codec], new()
            build = partial(cirbench.build, codec=codec, store_mode="bitstream", **level)
            build(photos[0].parent, out=out)
            usual = png_pairs(out, photos, new())
            blocks = [(f"{codec} whole photos", usual, {"bitstream": CIRDataset(out)})]
            if codec == "webp":
                blocks[0][2]["stored PNG"] = CIRDataset(stored_as_slow(out))
            if codec == "jpeg":
                pieces, tiled = new(), new()
                subs = sub_images(photos, new())
                build(subs[0].parent, out=pieces)
                build(photos[0].parent, out=tiled, tile=SUB)
                blocks[0][2].update(
                    {
                        "first reading": CIRDataset(out),
                        "HQ in the cache": only_hq_cached(out, new()),
                        "crop cache": CIRDataset(out, cache=new()),
                        "sub-images": CIRDataset(pieces),
                        "tile rows": CIRDataset(tiled),
                        "tile rows, crop cache": CIRDataset(tiled, cache=new()),
                    }
                )
                usual_subs = png_pairs(pieces, subs, new())
                blocks.append(("jpeg sub-images", usual_subs, {"bitstream": CIRDataset(pieces)}))
            for workers in map(int, options.workers.split(",")):
                for title, loader, ours in blocks:
                    compare(title, loader, ours, workers, options.samples, options.rounds)
            for label, dataset in blocks[0][2].items():
                if label != "first reading":
                    print(f"  {label + ', a sample':<32}{bound(dataset)}", flush=True)


if __name__ == "__main__":
    main()
