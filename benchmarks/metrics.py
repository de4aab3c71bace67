"""PSNR and SSIM: ours against a scikit-image loop; and the baseline of known photos.

    python benchmarks/metrics.py [--photos FOLDER] [--rounds 3] [--baseline]

Every photo (default: the sample photos) has 21 rows, as many as the paper has tasks: 12 JPEG and 9
WebP qualities, which are quick to make. The loop is what people write: for every row read HQ and LQ
(PNG, in the page cache), convert both to Y with scikit-image, ``peak_signal_noise_ratio`` and
``structural_similarity``. Ours reads and prepares each HQ image once and keeps its SSIM statistics.
"Arrays only" is both without reading. Both run in one process with one BLAS thread; they take
turns; medians of wall and CPU seconds. The largest difference of any value is printed.

``--baseline`` instead prints Y PSNR / SSIM and RGB PSNR of the unrestored JPEG and WebP images at
the level lists of both papers and releases, beside what was measured for LIVE1 when this project
was planned.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
from common import alternate, line, machine
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from threadpoolctl import threadpool_limits

from cirbench import codecs, metrics, sources
from cirbench.metrics import protocol
from cirbench.samples import sample_source

QUALITIES = {"jpeg": range(5, 65, 5), "webp": range(1, 90, 10)}  # 12 + 9 rows
BASELINES = {  # LIVE1's Y PSNR, Y SSIM, RGB PSNR
    ("jpeg", (5, 10, 15)): (28.01, 0.777, 25.30),
    ("jpeg", (10, 15, 20)): (29.57, 0.833, 26.96),
    ("webp", (1, 5, 10)): (29.43, 0.813, 27.20),
    ("webp", (5, 10, 15)): (30.45, 0.847, 28.11),
}
SKIMAGE = {"gaussian_weights": True, "use_sample_covariance": False, "data_range": 255}
prepare = protocol.get("native-y").prepare

Read = Callable[[Path], np.ndarray]
Rows = list[tuple[Path, list[Path]]]


def read_png(path: Path) -> np.ndarray:
    return imagecodecs.png_decode(path.read_bytes())


def photos_of(folder: Path | None) -> Iterator[tuple[str, np.ndarray]]:
    found = sources.parse_sources([str(folder)], None, None) if folder else [sample_source()]
    for source in found:
        for image in sources.find(source):
            yield Path(image.path).stem, sources.read(image.file).rgb


def lq_of(hq: np.ndarray, name: str, quality: int) -> np.ndarray:
    codec = codecs.get(name)
    settings = codec.settings()
    return codec.decode(codec.encode(hq, quality, settings).bitstream, hq.shape[:2], settings)


def make_rows(photos: list[tuple[str, np.ndarray]], folder: Path) -> Rows:
    rows = []
    for name, hq in photos:
        (folder / f"{name}.png").write_bytes(imagecodecs.png_encode(hq, level=1))
        lqs = []
        for codec, qualities in QUALITIES.items():
            for quality in qualities:
                lqs.append(folder / f"{name}-{codec}{quality}.png")
                lqs[-1].write_bytes(imagecodecs.png_encode(lq_of(hq, codec, quality), level=1))
        rows.append((folder / f"{name}.png", lqs))
    return rows


def scikit_image(rows: Rows, read: Read, out: list[float]) -> None:
    """The usual loop."""
    out.clear()
    for hq_path, lq_paths in rows:
        for lq_path in lq_paths:
            hq, lq = (rgb2ycbcr(read(path))[..., 0] for path in (hq_path, lq_path))
            out.append(float(peak_signal_noise_ratio(hq, lq, data_range=255)))
            out.append(float(structural_similarity(hq, lq, **SKIMAGE)))


def ours(rows: Rows, read: Read, out: list[float]) -> None:
    """One HQ image at a time, its rows after it."""
    out.clear()
    for hq_path, lq_paths in rows:
        hq, memo = prepare(read(hq_path)), {}
        for lq_path in lq_paths:
            lq = prepare(read(lq_path))
            for name in ("psnr", "ssim"):
                out.append(float(metrics.get(name).score([lq], hq, memo)[0]))


def compare(photos: list[tuple[str, np.ndarray]], rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="cirbench-") as folder:
        rows = make_rows(photos, Path(folder))
        count = sum(len(lqs) for _, lqs in rows)
        held = {path: read_png(path) for hq, lqs in rows for path in (hq, *lqs)}
        line(f"{len(rows)} photos, {count} rows", "ms/row", "ratio (wall)", "ratio (CPU)", "target")
        for label, read in (("with reading", read_png), ("arrays only", held.__getitem__)):
            theirs_out: list[float] = []
            ours_out: list[float] = []
            theirs, mine = alternate(
                rounds,
                lambda read=read, out=theirs_out: scikit_image(rows, read, out),
                lambda read=read, out=ours_out: ours(rows, read, out),
            )
            difference = float(np.abs(np.subtract(theirs_out, ours_out)).max())
            for name, cost in ((f"scikit-image, {label}", theirs), (f"cirbench, {label}", mine)):
                ratios = (f"{theirs.wall / cost.wall:.2f}x", f"{theirs.cpu / cost.cpu:.2f}x")
                target = ">= 3x" if cost is mine else ""
                line(f"  {name}", f"{1000 * cost.wall / count:.1f}", *ratios, target)
            print(f"  largest difference of any PSNR or SSIM: {difference:.1e} (target <= 1e-6)")


def baseline(photos: list[tuple[str, np.ndarray]]) -> None:
    line(f"{len(photos)} photos, unrestored", "Y PSNR", "Y SSIM", "RGB PSNR", "LIVE1, planned")
    totals: dict[tuple[str, int], list[np.ndarray]] = {}
    wanted = {(codec, q) for codec, levels in BASELINES for q in levels}
    for _, hq in photos:
        y, memo = prepare(hq), {}
        for codec, quality in sorted(wanted):
            lq = lq_of(hq, codec, quality)
            lq_y = [prepare(lq)]
            values = [metrics.get(name).score(lq_y, y, memo)[0] for name in ("psnr", "ssim")]
            values.append(metrics.get("psnr").score([lq], hq, {})[0])
            totals.setdefault((codec, quality), []).append(np.array(values))
    for (codec, levels), known in BASELINES.items():
        mean = np.mean([np.mean(totals[codec, quality], axis=0) for quality in levels], axis=0)
        label = f"  {codec} {'/'.join(map(str, levels))}"
        cells = (f"{mean[0]:.4f}", f"{mean[1]:.5f}", f"{mean[2]:.4f}")
        line(label, *cells, "  {:.2f}/{:.3f}/{:.2f}".format(*known))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--photos", type=Path, help="a folder of photos; default: the samples")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--baseline", action="store_true", help="print the known table instead")
    arguments = parser.parse_args()
    print(machine())
    photos = list(photos_of(arguments.photos))
    with threadpool_limits(1):
        if arguments.baseline:
            baseline(photos)
        else:
            compare(photos, arguments.rounds)


if __name__ == "__main__":
    main()
