"""VMAF, VMAF NEG, PSNR-HVS and CIEDE2000 by libvmaf, through ffmpeg's filter of that name.

ffmpeg comes with imageio-ffmpeg and carries the models. The images go in as 8-bit 4:4:4 Y'CbCr,
BT.709, limited range, rounded: what the models were trained on and what libvmaf's CIEDE2000
assumes; 4:4:4, so that no chroma is lost on the way. The B restored images are the frames of one
video, the HQ image is every frame of the other: with no motion in it, every frame's value is the
value of that image alone.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..codecs import ffmpeg_binary, processes
from ..codecs.base import RGB
from ..color import KB, KG, KR
from ..errors import CirbenchError, CodecError, InputError, UnavailableError
from .base import Image, Memo, Metric, require_same_size, require_side

_MODELS = {"vmaf": "vmaf_v0.6.1", "vmaf-neg": "vmaf_v0.6.1neg"}
_FEATURES = {"psnr-hvs": ("psnr_hvs", "psnr_hvs_y"), "ciede2000": ("ciede", "ciede2000")}
_SMALLEST = 32
_SECONDS = 2.0  # per megapixel and image, and more than any of them takes


def yuv444(rgb: RGB) -> bytes:
    """Y', Cb and Cr planes of 8-bit RGB: BT.709 (items 3.2 to 3.4), limited range, rounded."""
    red, green, blue = (rgb[..., i].astype(np.float64) / 255 for i in range(3))
    luma = KR * red + KG * green + KB * blue
    planes = (
        16 + 219 * luma,
        128 + 224 * (blue - luma) / (2 * (1 - KB)),
        128 + 224 * (red - luma) / (2 * (1 - KR)),
    )
    return b"".join(np.rint(plane).astype(np.uint8).tobytes() for plane in planes)


def score(restored: Sequence[Image], hq: Image, memo: Memo, *, name: str) -> NDArray[np.float64]:
    """Value of libvmaf's metric ``name`` for B restored 8-bit RGB images; (B,).

    Raises InputError below 32x32 pixels or when ffmpeg hangs, ValueError when sizes differ,
    UnavailableError when ffmpeg or its libvmaf is missing, CirbenchError with ffmpeg's words when
    it fails.
    """
    if text := problem():
        raise UnavailableError(text)
    require_side(name, hq, _SMALLEST)
    height, width = hq.shape[:2]
    for image in restored:
        require_same_size(image, hq)
    if not len(restored):
        return np.empty(0)
    if "yuv444" not in memo:
        memo["yuv444"] = yuv444(hq)
    command = _command(name, (width, height), int(memo.get("jobs", 1)))
    frames = b"".join(yuv444(image) for image in restored)
    with processes.scratch() as folder:
        (folder / "hq.yuv").write_bytes(memo["yuv444"])
        done = _run(command, frames, folder, height * width * len(restored))
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            raise CirbenchError(f"libvmaf failed: {said[0]}")
        log = json.loads((folder / "log.json").read_text(encoding="utf-8"))
    key = name if name in _MODELS else _FEATURES[name][1]
    found = (frame["metrics"][key] for frame in log["frames"])
    values = [math.inf if value is None else float(value) for value in found]
    if len(values) != len(restored):
        raise CirbenchError(f"libvmaf scored {len(values)} of {len(restored)} images")
    return np.array(values)


def _run(
    command: Sequence[str], frames: bytes, folder: Path, pixels: int
) -> subprocess.CompletedProcess[bytes]:
    seconds = processes.limit(pixels, _SECONDS)

    def call() -> subprocess.CompletedProcess[bytes]:
        return processes.run(command, "libvmaf", seconds, input=frames, cwd=folder)

    try:
        return processes.twice(call)
    except CodecError as error:
        raise InputError(str(error)) from error


def _command(name: str, size: tuple[int, int], threads: int) -> list[str]:
    """The ffmpeg command: restored frames from standard input, ``hq.yuv``, to ``log.json``."""
    # A feature alone still needs a model: libvmaf computes its default one unless given another.
    model = f"version={_MODELS.get(name, _MODELS['vmaf'])}\\:name={name}"
    options = f"model='{model}':log_fmt=json:log_path=log.json:n_threads={threads}"
    if name in _FEATURES:
        options += f":feature=name={_FEATURES[name][0]}"
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv444p", "-s", f"{size[0]}x{size[1]}", "-r", "1"]
    graph = f"[0:v][1:v]libvmaf={options}"  # the one HQ frame is repeated to the end
    end = ["-lavfi", graph, "-f", "null", "-"]
    head = [ffmpeg_binary.path(), "-hide_banner", "-loglevel", "error", "-threads", str(threads)]
    return [*head, *raw, "-i", "pipe:0", *raw, "-i", "hq.yuv", *end]


@cache
def problem() -> str:
    """``""`` when ffmpeg is here and has libvmaf, else what to do."""
    try:
        if ffmpeg_binary.has_filter("libvmaf"):
            return ""
        fix = "reinstall imageio-ffmpeg from a wheel, or unset IMAGEIO_FFMPEG_EXE"
        return f"{ffmpeg_binary.path()} has no libvmaf: {fix}"
    except CirbenchError as error:
        return str(error)


def _metric(name: str, title: str, digits: int, unit: str, doc: str) -> Metric:
    function: Callable[..., NDArray[np.float64]] = partial(score, name=name)
    return Metric(
        name=name,
        title=title,
        better="higher",
        unit=unit,
        digits=digits,
        per="image",
        reference=True,
        protocols=("native-rgb", "paper-256"),
        problem=problem,
        score=function,
        doc=doc,
    )


VMAF = _metric(
    "vmaf",
    "VMAF",
    2,
    "",
    "libvmaf's model vmaf_v0.6.1 on single images (no motion); 0..100, equal images get about 97",
)
VMAF_NEG = _metric(
    "vmaf-neg",
    "VMAF NEG",
    2,
    "",
    "libvmaf's model vmaf_v0.6.1neg: VMAF that does not reward enhancement; 0..100",
)
PSNR_HVS = _metric(
    "psnr-hvs",
    "PSNR-HVS",
    2,
    "dB",
    "libvmaf's psnr_hvs_y: Xiph's variant of Ponomarenko et al. 2007 (with masking, other CSF"
    " weights, overlapping blocks), 8x8 DCT of BT.709 luma; not the authors' numbers",
)
CIEDE2000 = _metric(
    "ciede2000",
    "CIEDE2000",
    2,
    "",
    "libvmaf's ciede2000: 45 - 20 log10(mean CIEDE2000, kL 0.65, kH 4), so higher is better",
)
