"""x265 and x264 presets, with and without psychovisual tuning, against HM and JM.

    CIRBENCH_HM=... CIRBENCH_JM=... python benchmarks/effort.py --photos LIVE1 --names bikes,caps

Slice QP 37, 42, 47, 4:2:0 8-bit, one thread. Prints mean bpp and RGB PSNR, CPU seconds a photo and
the BD-rate against the reference encoder: mean over photos of the difference of log rate, from a
quadratic through each photo's three points, over their common PSNR range. Without a reference
encoder its column of BD-rates is left out.
"""

from __future__ import annotations

import argparse
import resource
from pathlib import Path
from unittest.mock import patch

import numpy as np

from cirbench import codecs, sources
from cirbench.codecs import video
from cirbench.metrics.distortion import psnr_pair

QPS = (37, 42, 47)
PRESETS = ("medium", "slow", "slower", "placebo")
NO_PSY = {"x265": ":psy-rd=0:psy-rdoq=0", "x264": ":no-psy=1"}
Points = list[list[tuple[float, float]]]  # per photo and QP: log bpp, PSNR


def measure(name: str, photos: list[np.ndarray], **settings: str) -> tuple[Points, float]:
    """Rate and distortion of every photo and QP, and CPU seconds per photo and QP."""
    codec = codecs.get(name)
    chosen = codec.settings(**settings)
    points: Points = []
    spent = 0.0
    for rgb in photos:
        points.append([])
        for qp in QPS:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            coded = codec.encode(rgb, qp, chosen).bitstream
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            codec.check_level(coded, qp, chosen)
            psnr = psnr_pair(rgb, codec.decode(coded, rgb.shape[:2], chosen))[0]
            points[-1].append((np.log(8 * len(coded) / rgb[..., 0].size), psnr))
    return points, spent / len(photos) / len(QPS)


def bd_rate(points: Points, reference: Points) -> float:
    """Mean Bjontegaard delta rate in per cent."""
    deltas = []
    for mine, theirs in zip(points, reference, strict=True):
        (rate, psnr), (other_rate, other_psnr) = np.array(mine).T, np.array(theirs).T
        ends = max(psnr.min(), other_psnr.min()), min(psnr.max(), other_psnr.max())
        curve = np.polyint(np.polyfit(psnr, rate, 2) - np.polyfit(other_psnr, other_rate, 2))
        deltas.append(np.diff(np.polyval(curve, ends))[0] / (ends[1] - ends[0]))
    return float(100 * np.expm1(np.mean(deltas)))


def show(title: str, points: Points, seconds: float, reference: Points | None) -> None:
    table = np.array(points)
    cells = [f"{np.exp(table[:, i, 0]).mean():.4f}/{table[:, i, 1].mean():.2f}" for i in range(3)]
    bd = f"{bd_rate(points, reference):+6.1f} %" if reference else ""
    print(f"{title:<22} {'  '.join(cells)}  {seconds:5.2f} s  {bd}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="folder of PNGs")
    parser.add_argument("--names", help="stems of the photos to use; default: all")
    options = parser.parse_args()
    names = options.names.split(",") if options.names else None
    files = [f for f in sorted(options.photos.glob("*.png")) if not names or f.stem in names]
    photos = [sources.read(file).rgb for file in files]
    print(f"{len(photos)} photos; bpp/PSNR at QP {QPS}; CPU seconds; BD-rate")
    for name, encoder, reference_name in (("hevc", "x265", "hm"), ("avc", "x264", "jm")):
        reference = None
        if codecs.get(name).probe(codecs.get(name).settings(encoder=reference_name)).available:
            reference, seconds = measure(name, photos, encoder=reference_name)
            show(reference_name, reference, seconds, reference)
        ours = video._ENCODERS[encoder].options
        psy = {key: text.replace(NO_PSY[encoder], "") for key, text in ours.items()}
        for preset in PRESETS:
            show(f"{encoder} {preset}, no psy", *measure(name, photos, preset=preset), reference)
            with patch.dict(ours, psy):
                found = measure(name, photos, preset=preset)
            show(f"{encoder} {preset}", *found, reference)


if __name__ == "__main__":
    main()
