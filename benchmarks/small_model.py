"""The figures of ``docs/small.md``: the curves of a training, and crops of what models restored.

    python benchmarks/small_model.py curves docs/small/log.jsonl docs/small/curves.png
    python benchmarks/small_model.py crops data/bench docs/small/grid.png \\
        MoE-DiffIR=eval/moe/restored/moe_diffir-139257a4 \\
        --at live1/caps:jpeg-qf5:100,50 live1/bikes:hific-low:300,200

A crop is named by set and name of its photo, its task, and its left top corner; a model by what
it is called and the folder in which ``cirbench eval`` keeps its outputs.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from cirbench import Manifest
from cirbench.evaluation.match import place

GAP, LEFT, TOP = 6, 130, 20
MEAN_OF = 5  # logged values, for the smooth line


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    figures = parser.add_subparsers(dest="figure", required=True)
    one = figures.add_parser("curves")
    one.add_argument("log", type=Path)
    one.add_argument("out", type=Path)
    one = figures.add_parser("crops")
    one.add_argument("data")
    one.add_argument("out", type=Path)
    one.add_argument("models", nargs="+", metavar="NAME=FOLDER")
    one.add_argument("--at", nargs="+", required=True, metavar="SET/NAME:TASK:X,Y")
    one.add_argument("--side", type=int, default=160)
    given = parser.parse_args()
    if given.figure == "curves":
        curves(given.log, given.out)
    else:
        crops(given)


def curves(log: Path, out: Path) -> None:
    """The loss of every stage of every run, in the order in which they are in the log."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    for line in log.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found[row["run"], row["stage"]].append((row["step"], row["loss"]))
    down = -(-len(found) // 4)
    figure, axes = pyplot.subplots(down, 4, figsize=(13, 2.8 * down), squeeze=False)
    for axis in axes.flat[len(found) :]:
        axis.axis("off")
    for axis, ((run, stage), points) in zip(axes.flat, found.items(), strict=False):
        steps, losses = zip(*sorted(points), strict=True)
        axis.plot(steps, losses, color="#9bb", lw=1)
        if len(losses) >= MEAN_OF:
            half = MEAN_OF // 2
            smooth = np.convolve(losses, np.full(MEAN_OF, 1 / MEAN_OF), "valid")
            axis.plot(steps[half:-half], smooth, color="#156", lw=1.8)
        axis.set(title=f"runs/{run}: {stage}", xlabel="step", ylabel="loss")
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(out, dpi=80)


def crops(given: argparse.Namespace) -> None:
    """A row for each crop: HQ, LQ, and what each model made of it."""
    manifest = Manifest.open(given.data)
    models = dict(one.split("=", 1) for one in given.models)
    columns, side = ["HQ", "LQ", *models], given.side
    size = (LEFT + len(columns) * (side + GAP), TOP + len(given.at) * (side + GAP))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for index, name in enumerate(columns):
        pen.text((LEFT + index * (side + GAP), 4), name, fill="black")
    for number, spot in enumerate(given.at):
        photo, task, corner = spot.split(":")
        x, y = map(int, corner.split(","))
        row = _row(manifest, photo, task)
        images = [manifest.hq(row), manifest.lq(row)]
        images += [_restored(Path(folder), row) for folder in models.values()]
        top = TOP + number * (side + GAP)
        pen.text((4, top + side // 2 - 12), f"{photo}\n{task}", fill="black")
        for index, image in enumerate(images):
            crop = Image.fromarray(np.ascontiguousarray(image[y : y + side, x : x + side]))
            sheet.paste(crop, (LEFT + index * (side + GAP), top))
    sheet.save(given.out, optimize=True)


def _row(manifest: Manifest, photo: str, task: str) -> dict[str, Any]:
    set_name, _, stem = photo.partition("/")
    for row in manifest.filter(set=set_name, task=task):
        if Path(row["hq_path"]).stem == stem:
            return dict(row)
    raise SystemExit(f"the data set has no {task} of {photo}")


def _restored(folder: Path, row: dict[str, Any]) -> np.ndarray:
    level, name = place(row)
    return np.asarray(Image.open(folder / row["codec"] / level / row["set"] / f"{name}.png"))


if __name__ == "__main__":
    main()
