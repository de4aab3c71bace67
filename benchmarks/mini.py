"""What the mini weights are worth: the targets table, rate-distortion curves and crops.

    cirbench build live1=LIVE1 --split test --out data/live1 --weights mini --store bitstream
    python benchmarks/mini.py data/live1 --out docs/images

reads the rows of one set: bpp and RGB PSNR from the manifest, MS-SSIM (pytorch-msssim, RGB, range
255) and gradient energy (mean Sobel magnitude of the luma of ITU-R BT.601) from the pixels. Other
codecs are compared at equal bpp by interpolating their means over images, linear in log bpp; where
a curve has to be carried on beyond its last point, the table says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import matplotlib
import numpy as np
from skimage.filters import sobel

matplotlib.use("Agg")
import torch
from matplotlib import pyplot
from pytorch_msssim import ms_ssim

from cirbench import Manifest
from cirbench.report.drawing import busiest

WANTED = {
    "c_psnr": (0.15, 0.24, 0.35),
    "c_ssim": (0.13, 0.19, 0.29),
    "hific": (0.18, 0.38, 0.58),
}
"""bpp on LIVE1, each within 25 %."""

CODECS = ("jpeg", "webp", "hevc", *WANTED)
COLOURS = dict(
    zip(CODECS, ("#888888", "#4c78a8", "#54a24b", "#e45756", "#f58518", "#b279a2"), strict=True)
)
PUBLISHED = {
    "Cheng2020 MSE (Kodak)": ((0.120, 28.58), (0.184, 29.97), (0.271, 31.34)),
    "Cheng2020 MS-SSIM (Kodak)": ((0.098, 25.79), (0.150, 26.65), (0.226, 27.85)),
}
"""CompressAI's own results for cheng2020-anchor, 24 Kodak photos: (bpp, RGB PSNR)."""

Point = dict[str, float]


def energy(rgb: np.ndarray) -> float:
    """Mean Sobel magnitude of the luma."""
    return float(sobel(rgb @ np.array([0.299, 0.587, 0.114])).mean())


def similarity(hq: np.ndarray, lq: np.ndarray) -> float:
    pair = (torch.from_numpy(x.transpose(2, 0, 1).copy())[None].float() for x in (hq, lq))
    return float(ms_ssim(*pair, data_range=255))


def measure(manifest: Manifest) -> dict[str, list[Point]]:
    """Means over images for every level of every codec, by rising bpp."""
    rows: dict[tuple[str, str], list[Point]] = defaultdict(list)
    by_photo: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in manifest.usable.filter(codec=list(CODECS)):
        by_photo[row["hq_path"]].append(row)
    for photo in by_photo.values():
        hq = manifest.hq(photo[0])
        whole = energy(hq)
        for row in photo:
            lq = manifest.lq(row)
            point = {"bpp": row["bpp"], "psnr": row["psnr_rgb"], "ms_ssim": similarity(hq, lq)}
            rows[row["codec"], row["level"]].append(point | {"lost": 1 - energy(lq) / whole})
    curves: dict[str, list[Point]] = defaultdict(list)
    for (codec, level), points in rows.items():
        mean = {key: float(np.mean([point[key] for point in points])) for key in points[0]}
        curves[codec].append(mean | {"level": level})  # type: ignore[dict-item]
    return {name: sorted(curves[name], key=lambda p: p["bpp"]) for name in CODECS if name in curves}


def at(curve: list[Point], bpp: float, key: str) -> tuple[float, bool]:
    """``key`` of a codec at ``bpp``, and whether that is beyond its levels."""
    x, y = np.log([p["bpp"] for p in curve]), [p[key] for p in curve]
    i = int(np.clip(np.searchsorted(x, np.log(bpp)), 1, len(x) - 1))
    slope = (y[i] - y[i - 1]) / (x[i] - x[i - 1])
    value = y[i - 1] + slope * (np.log(bpp) - x[i - 1])
    return float(value), not x[0] <= np.log(bpp) <= x[-1]


def table(curves: dict[str, list[Point]]) -> str:
    """Every target with what was measured, as Markdown."""
    lines = ["| target | wanted | measured | met |", "|---|---|---|---|"]

    def say(what: str, wanted: str, value: str, met: bool) -> None:
        lines.append(f"| {what} | {wanted} | {value} | {'yes' if met else '**no**'} |")

    for codec, rates in WANTED.items():
        for point, rate in zip(curves[codec], rates, strict=True):
            off = point["bpp"] / rate - 1
            met = abs(off) <= 0.25
            level = f"{codec} {point['level']}"
            say(f"{level} bpp", f"{rate} ± 25 %", f"{point['bpp']:.3f} ({off:+.0%})", met)
    psnr, ssim, hific = (curves[name] for name in WANTED)
    for other, least in (("jpeg", 3.0), ("webp", 0.5)):
        gain = psnr[-1]["psnr"] - at(curves[other], psnr[-1]["bpp"], "psnr")[0]
        say(f"c_psnr q3 RGB PSNR above {other}", f"≥ {least} dB", f"{gain:+.2f} dB", gain >= least)
    for key, sign, unit in (("ms_ssim", 1, ""), ("psnr", -1, " dB")):
        for point in ssim:
            other, beyond = at(psnr, point["bpp"], key)
            gain = point[key] - other
            what = f"c_ssim {point['level']} {key.upper().replace('_', '-')} against c_psnr"
            wanted = "above" if sign > 0 else "below"
            value = f"{gain:+.4f}{unit}" + (" (c_psnr extrapolated)" if beyond else "")
            say(what, wanted, value, gain * sign > 0)
    top = hific[-1]
    lost, beyond = at(psnr, top["bpp"], "lost")
    note = " (c_psnr extrapolated)" if beyond else ""
    say("hific high gradient energy lost", "≤ 15 %", f"{top['lost']:.1%}", abs(top["lost"]) <= 0.15)
    twice = lost > 2 * abs(top["lost"])
    say("c_psnr's loss at equal bpp", "more than twice", f"{lost:.1%}{note}", twice)
    gap = top["ms_ssim"] - at(psnr, top["bpp"], "ms_ssim")[0]
    say("hific high MS-SSIM against c_psnr", "≥ -0.02", f"{gap:+.4f}{note}", gap >= -0.02)
    lines += ["", "| codec | level | bpp | RGB PSNR | MS-SSIM | gradient energy lost |"]
    lines += ["|---|---|--:|--:|--:|--:|"]
    for codec, points in curves.items():
        lines += [
            f"| {codec} | {p['level']} | {p['bpp']:.3f} | {p['psnr']:.2f} | {p['ms_ssim']:.4f} "
            f"| {p['lost']:.1%} |"
            for p in points
        ]
    return "\n".join(lines)


def plot(curves: dict[str, list[Point]], path: Path) -> None:
    """PSNR, MS-SSIM and gradient energy against bpp."""
    titles = {"psnr": "RGB PSNR (dB)", "ms_ssim": "MS-SSIM", "lost": "gradient energy lost"}
    figure, axes = pyplot.subplots(1, 3, figsize=(15, 4.6), layout="constrained")
    for ax, (key, title) in zip(axes, titles.items(), strict=True):
        for codec, points in curves.items():
            style = "o-" if codec in WANTED else "o--"
            label = f"{codec} mini" if codec in WANTED else codec
            values = [[p["bpp"] for p in points], [p[key] for p in points]]
            ax.plot(*values, style, color=COLOURS[codec], label=label)
        if key == "psnr":
            for (name, points), mark in zip(PUBLISHED.items(), "^v", strict=True):
                ax.plot(*zip(*points, strict=True), mark + ":", color="#bbbbbb", label=name)
        ax.set(xlabel="bits per pixel", title=title)
        ax.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def crops(manifest: Manifest, path: Path, names: list[str], side: int = 128) -> None:
    """The busiest piece of some photos: HQ and the learned codecs' levels, with JPEG's between."""
    shown = [("jpeg", "qf10"), ("c_psnr", "q1"), ("c_psnr", "q3"), ("c_ssim", "q1")]
    shown += [("c_ssim", "q3"), ("hific", "low"), ("hific", "high")]
    figure, axes = pyplot.subplots(
        len(names),
        len(shown) + 1,
        figsize=(2 * len(shown) + 2, 2.25 * len(names)),
        squeeze=False,
        layout="constrained",
    )
    rows = {(r["hq_path"].rpartition(".")[0], r["codec"], r["level"]): r for r in manifest.usable}
    for line, name in zip(axes, names, strict=True):
        hq = manifest.hq(rows[name, *shown[0]])
        place = busiest(hq, side)
        pictures = [("HQ", hq)]
        for codec, level in shown:
            row = rows[name, codec, level]
            pictures.append((f"{codec} {level}\n{row['bpp']:.2f} bpp", manifest.lq(row)))
        for ax, (title, rgb) in zip(line, pictures, strict=True):
            ax.imshow(rgb[place], interpolation="nearest")
            ax.set_title(title, fontsize=8)
            ax.axis("off")
    figure.savefig(path, dpi=110)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the two pictures.")
@click.option("--crops", "names", default="bikes,parrots,sailing1", show_default=True)
def main(folder: Path, out: Path | None, names: str) -> None:
    """Print the table for the data set in FOLDER, and draw its curves and crops."""
    manifest = Manifest.open(folder)
    curves = measure(manifest)
    click.echo(table(curves))
    if out:
        plot(curves, out / "mini_rd.png")
        crops(manifest, out / "mini_crops.png", names.split(","))


if __name__ == "__main__":
    main()
