"""The ffmpeg that the video codecs, libvmaf's metrics and the deblocking filter run.

It comes with imageio-ffmpeg; ``IMAGEIO_FFMPEG_EXE`` names another one.
"""

from __future__ import annotations

import re
import shutil

import imageio_ffmpeg

from ..errors import UnavailableError
from . import processes


def path() -> str:
    """The binary. Raises UnavailableError when there is none that can be run."""
    try:
        found = str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise UnavailableError(
            "no ffmpeg here: reinstall imageio-ffmpeg from a wheel, or set IMAGEIO_FFMPEG_EXE"
        ) from error
    if shutil.which(found) is None:
        raise UnavailableError(
            f"{found} is no program that can be run; unset IMAGEIO_FFMPEG_EXE to use "
            "imageio-ffmpeg's own"
        )
    return found


def release() -> str:
    """Its version, ``"7.1"``; "" when it does not say. Raises as :func:`.processes.run`."""
    found = re.search(r"ffmpeg version (\S+)", _said("-version"))
    return found[1] if found else ""


def has_filter(name: str) -> bool:
    """Whether it was built with a filter. Raises as :func:`.processes.run`."""
    return f"Filter {name}\n" in _said("-hide_banner", "-h", f"filter={name}")


def _said(*arguments: str) -> str:
    done = processes.run([path(), *arguments], "ffmpeg", processes.LEAST_SECONDS)
    return done.stdout.decode(errors="replace")
