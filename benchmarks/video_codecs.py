"""VVC, HEVC and AVC: what ``cirbench build`` adds to the bare encoder and decoder, in CPU time.

    python benchmarks/video_codecs.py [--rounds 3] [--skip-vvc]

CPU seconds of the whole build (this process and its children) at QP 37, one job, into a new folder
each time, against the bare work: the very ffmpeg commands that the build ran, once more, on the
same raw frames (read from a file, the bitstream thrown away), then PyAV's decoder on the same
bitstreams. The two take turns; medians.

- VVC at the default preset, ``--store png``: the ratio.
- HEVC and AVC, ``--store bitstream``: what is left per megapixel when encoder and decoder are
  taken off (colour, pipes, checks, hashes, PSNR, journal, manifest), on the sample photos and on a
  photo of 2040x1356. At preset ultrafast: what is left does not depend on the preset, and the
  encoder's own spread, some per cent of its seconds, stays out of a difference of milliseconds.
- 2 jobs against 1: wall time of the same build at the default presets; needs 2 idle cores.

The encoders' version check, once per process (two starts of ffmpeg each), comes before the clock.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from common import Cost, alternate, fresh_folders, line, machine, mosaics, sample_photos

import cirbench
from cirbench.codecs import video

QP = 37
MAX_RATIO, MAX_MS = 1.10, 60.0
Folders = Callable[[], Path]


class Recording:
    """The encoder calls of one build, to be repeated without cirbench around them."""

    def __init__(self, codec: str, frames: Path) -> None:
        self._codec, self._frames = codec, frames
        self._calls: list[tuple[list[str], Path, bytes]] = []
        self._run = video._run

    def record(self, command: Sequence[str], raw: bytes) -> tuple[bytes, str, int]:
        """Stands in for video._run: does the same and takes notes."""
        bitstream, printed, status = self._run(command, raw)
        file = self._frames / f"{self._codec}{len(self._calls)}.yuv"
        file.write_bytes(raw)
        bare = ["pipe:1" if part.startswith("pipe:{") else part for part in command]
        self._calls.append((bare, file, bitstream))
        return bitstream, printed, status

    def replay(self) -> None:
        """Bare encoder, bare decoder."""
        for command, frames, bitstream in self._calls:
            with frames.open("rb") as source:
                subprocess.run(command, stdin=source, stdout=subprocess.DEVNULL, check=True)
            video.decode_planes(self._codec, bitstream)


def build(photos: Path | None, codec: str | list[str], out: Path, **options: Any) -> None:
    """One build that must not fail."""
    result = cirbench.build(photos or (), codec=codec, out=out, **{"jobs": 1, "qp": [QP]} | options)
    assert result.made and not result.failed


def against_bare(
    photos: Path | None, codec: str, rounds: int, new: Folders, **options: Any
) -> tuple[Cost, Cost]:
    """Costs of (cirbench, bare encoder and decoder)."""
    frames = new()
    frames.mkdir()
    recording = Recording(codec, frames)
    with patch.object(video, "_run", recording.record):
        build(photos, codec, new(), **options)
    ours, bare = alternate(rounds, lambda: build(photos, codec, new(), **options), recording.replay)
    return ours, bare


def vvc(rounds: int, megapixels: float, new: Folders) -> None:
    """The VVC block of the table."""
    ours, bare = against_bare(None, "vvc", rounds, new, store_mode="png")
    line("VVC, default preset", "s/MP build", "s/MP bare", "ratio", "target")
    seconds = (f"{cost.cpu / megapixels:.2f}" for cost in (ours, bare))
    line("  sample photos", *seconds, f"{ours.cpu / bare.cpu:.3f}", f"<= {MAX_RATIO:.2f}")


def hevc_and_avc(rounds: int, where: dict[str, tuple[Path | None, float]], new: Folders) -> None:
    """The HEVC and AVC block."""
    line("CPU ms per megapixel", "build", "bare", "ours alone", "target")
    options = {"store_mode": "bitstream", "preset": "ultrafast"}
    for codec in ("hevc", "avc"):
        for label, (photos, megapixels) in where.items():
            ours, bare = against_bare(photos, codec, rounds, new, **options)
            cells = [1000 * cost / megapixels for cost in (ours.cpu, bare.cpu, ours.cpu - bare.cpu)]
            line(f"  {codec}, {label}", *(f"{ms:.1f}" for ms in cells), f"<= {MAX_MS:.0f}")


def two_jobs(rounds: int, photos: Path, new: Folders) -> None:
    """The block about parallel builds."""
    line("wall seconds", "1 job", "2 jobs", "ratio", "target")
    # Enough rows that the last one, when a core has nothing left to do, is a small part.
    builds: dict[str, tuple[Path | None, list[str], dict[str, Any]]] = {
        "hevc + avc, sample photos": (None, ["hevc", "avc"], {"qp": [32, 37, 42, 47]}),
        "jpeg, 12 photos of 2040x1356": (photos, ["jpeg"], {"qp": [], "quality": [5, 10, 15]}),
    }
    for label, (source, codecs, options) in builds.items():
        options |= {"store_mode": "bitstream"}

        def run(jobs: int, source: Any = source, codecs: Any = codecs, o: Any = options) -> None:
            build(source, codecs, new(), **o, jobs=jobs)

        one, two = alternate(rounds, lambda run=run: run(1), lambda run=run: run(2))
        ratio = f"{one.wall / two.wall:.2f}x"
        line(f"  {label}", f"{one.wall:.2f}", f"{two.wall:.2f}", ratio, ">= 1.80x")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-vvc", action="store_true", help="its rounds take a minute each")
    options = parser.parse_args()
    sample = sum(rgb.shape[0] * rgb.shape[1] for _, rgb in sample_photos()) / 1e6
    print(f"QP {QP}; sample photos: {sample:.2f} MP; {machine()}")
    with fresh_folders() as new:
        one, many = mosaics(new(), 1)[0].parent, mosaics(new(), 4, copies=3)[0].parent
        build(None, ["vvc", "hevc", "avc"], new(), limit=1, preset="faster")  # imports and probes
        where: dict[str, tuple[Path | None, float]] = {
            "sample photos": (None, sample),
            "2040x1356": (one, 2.77),
        }
        hevc_and_avc(max(options.rounds, 5), where, new)
        two_jobs(options.rounds, many, new)
        if not options.skip_vvc:
            vvc(options.rounds, sample, new)


if __name__ == "__main__":
    main()
