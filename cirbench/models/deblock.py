"""A classical restorer without training: ffmpeg's ``spp`` filter with one fixed strength.

Codes and decodes the image with a plain 8x8 DCT at 32 shifts of the grid and takes the mean
(A. Nosratinia, "Enhancement of JPEG-compressed images by re-application of JPEG", J. VLSI Signal
Processing 27, 2001). It knows nothing of codec, task or level. Red, green and blue are filtered on
their own, so that no colour conversion costs anything.

The strength is a compromise: a larger one removes more of JPEG's blocks and blurs what the other
codecs kept (measured in ``docs/evaluate.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from ..codecs import ffmpeg_binary, processes
from ..codecs.base import RGB
from ..errors import CirbenchError, UnavailableError
from .restorer import Batch, Info, to_rgb8

FILTER = "format=gbrp,spp=quality=5:qp=8"
"""2**5 shifts, quantiser 8 (of ffmpeg's 1 to 63, an MPEG scale)."""

_SMALLEST = 16  # pad by edge replication to at least two blocks
_SECONDS = 2.0  # per megapixel, and more than it takes


class Deblock:
    """Deblocking by re-application of shifted DCTs; runs on the CPU."""

    def __init__(self, checkpoint: Path | None = None, device: str | None = None) -> None:
        if checkpoint is not None:
            raise CirbenchError("the restorer 'deblock' takes no checkpoint; leave it out")
        _version()

    def restore(self, lq: Batch, *, seeds: Sequence[int], prompt: str | None = None) -> Batch:
        """Filter (B, 3, H, W) in [0, 1], one image at a time, at 8 bits."""
        made = [_filter(to_rgb8(np.moveaxis(image, 0, -1))) for image in lq]
        return np.moveaxis(np.stack(made), -1, 1).astype(np.float32) / np.float32(255)

    def info(self) -> Info:
        """No parameters; the version names the filter and the ffmpeg that runs it."""
        return Info("deblock", version=f"{FILTER} ({_version()})", thread_safe=True)


def _filter(rgb: RGB) -> RGB:
    height, width = rgb.shape[:2]
    grow = [max(0, _SMALLEST - side) for side in (height, width)]
    padded = np.pad(rgb, ((0, grow[0]), (0, grow[1]), (0, 0)), mode="edge")
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24")
    size = ("-video_size", f"{padded.shape[1]}x{padded.shape[0]}")
    command = [
        *(ffmpeg_binary.path(), "-v", "error", "-threads", "1", "-filter_threads", "1"),
        *(*raw, *size, "-i", "pipe:0", "-vf", FILTER, *raw, "pipe:1"),
    ]
    seconds = processes.limit(padded.size // 3, _SECONDS)
    done = processes.twice(
        lambda: processes.run(command, "ffmpeg", seconds, input=padded.tobytes())
    )
    if done.returncode or len(done.stdout) != padded.nbytes:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise CirbenchError(f"ffmpeg's spp filter failed ({said}); see: cirbench info")
    return np.frombuffer(done.stdout, np.uint8).reshape(padded.shape)[:height, :width]


@cache
def _version() -> str:
    """The ffmpeg that has the filter. Raises UnavailableError when it has not."""
    if not ffmpeg_binary.has_filter("spp"):
        raise UnavailableError(
            f"{ffmpeg_binary.path()} has no spp filter; unset IMAGEIO_FFMPEG_EXE to use "
            "imageio-ffmpeg's own"
        )
    return f"ffmpeg {ffmpeg_binary.release() or 'unknown'}"
