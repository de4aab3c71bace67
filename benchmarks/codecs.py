"""Seconds per megapixel of every codec, encode and decode, on one core.

    python benchmarks/codecs.py [--codec jpeg,vvc] [--random-weights FOLDER]

The sample photos at the middle level of the paper's tasks; medians over photos. Learned codecs need
their weights; ``--random-weights FOLDER`` makes full-size random ones there first (2.6 GB, kept),
which take the same time as trained ones, and says so. Reference encoders run where they are found.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from threadpoolctl import threadpool_limits

from cirbench import codecs, recipe, sources, weights
from cirbench.errors import UnavailableError
from cirbench.samples import sample_source


def neighbour(name: str) -> ModuleType:
    """Another benchmark, as a module."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def make_random_weights(folder: Path) -> None:
    """Full-size random weights of all nine learned tasks, under their published names."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    cheng, hific = neighbour("cheng2020"), neighbour("hific")
    for number, one in enumerate(weights.records()):
        path = folder / one.file
        if path.exists() or one.kind != "published":
            continue
        if one.codec == "hific":
            hific.save_random(path, one.level)
        elif one.model == "cheng2020-attn":
            torch.save(cheng.random_model(128, number).state_dict(), path)


def measure(name: str, settings: dict[str, Any], level: int | str) -> tuple[float, float, float]:
    """Median (encode seconds, decode seconds) per megapixel, and bpp, over the sample photos."""
    codec, source = codecs.get(name), sample_source()
    spent: list[tuple[float, float, float]] = []
    for path, _ in source.files:
        rgb = sources.read(source.root / path).rgb
        size = (rgb.shape[0], rgb.shape[1])
        if not spent:
            codec.encode(rgb[:64, :64].copy(), level, settings)  # loads what has to be loaded
        start = time.perf_counter()
        coded = codec.encode(rgb, level, settings)
        encoded = time.perf_counter()
        codec.decode(coded.bitstream, size, settings)
        decoded = time.perf_counter()
        megapixels = size[0] * size[1] / 1e6
        bpp = 8e-6 * len(coded.bitstream) / megapixels
        spent.append(((encoded - start) / megapixels, (decoded - encoded) / megapixels, bpp))
    encode, decode, bpp = (statistics.median(values) for values in zip(*spent, strict=True))
    return encode, decode, bpp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--codec", default=",".join(codecs.names()))
    parser.add_argument("--random-weights", type=Path)
    options = parser.parse_args()
    if options.random_weights:
        make_random_weights(options.random_weights)
        os.environ["CIRBENCH_WEIGHTS"] = str(options.random_weights)
        print(f"learned codecs: RANDOM full-size weights from {options.random_weights}")
    paper = recipe.load("paper")
    print("codec   encoder        level     bpp  encode s/MP  decode s/MP")
    for name in options.codec.split(","):
        codec = codecs.get(name)
        level = [task.level for task in paper.tasks if task.codec == name][1]
        for encoder in codec.encoders:
            settings = codec.settings(encoder=encoder)
            head = f"{name:<7} {encoder:<14} {codec.label(level):<6}"
            try:
                with threadpool_limits(1):
                    encode, decode, bpp = measure(name, settings, level)
            except UnavailableError as error:
                print(f"{head} not here: {error}", flush=True)
                continue
            print(f"{head} {bpp:6.3f} {encode:12.3f} {decode:12.3f}", flush=True)


if __name__ == "__main__":
    main()
