"""HEVC, VVC and AVC, one intra picture: x265, VVenC and x264 through ffmpeg, decoded by PyAV.

Raw planes go in through a pipe and the elementary stream comes out of one. The encoder options
below make the slice QP equal the level; see docs/codecs.md for what the obvious options give.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import av
import av.error
import ffmpeg
import numpy as np
from numpy.typing import NDArray

from .. import color
from ..errors import CodecError, UnavailableError
from . import ffmpeg_binary, processes
from .base import RGB, Encoded, Probe, Settings
from .bitstream import FFMPEG_NAMES, slice_qp

MIN_SIDE = 16
"""x265 and VVenC refuse 8x8 and take 16x16 (found by trying); smaller images are padded."""

_BLOCK = 128  # the largest coding block of AVC, HEVC and VVC
_OUTPUT = "pipe:{out}"
_STRIP_SEI = "filter_units=remove_types=6"


@dataclass(frozen=True)
class _Encoder:
    """How to call one encoder: its codec, ffmpeg's name and options; ``{qp}`` is the level."""

    codec: str
    library: str
    options: dict[str, str]
    version: str  # pattern of the version in what ffmpeg prints


_ENCODERS = {
    # ipratio=1: x265 and x264 lower the QP of I pictures by 3 otherwise; aq-mode=0: one QP for
    # the whole picture. Psychovisual tuning costs 4 % of the bits at equal PSNR, and x264's also
    # lowers the chroma QP by 2: off. info=0 and the removal of SEI keep text out of the stream.
    "x265": _Encoder(
        "hevc",
        "libx265",
        {
            "x265-params": "qp={qp}:ipratio=1:aq-mode=0:cutree=0:psy-rd=0:psy-rdoq=0:keyint=1"
            ":info=0:pools=none:frame-threads=1:range=full:colorprim=bt709:transfer=iec61966-2-1"
            ":colormatrix=bt709:chromaloc=1:log-level={log}"
        },
        r"HEVC encoder version (\S+)",
    ),
    "x264": _Encoder(
        "avc",
        "libx264",
        {
            "x264-params": "qp={qp}:ipratio=1:aq-mode=0:no-psy=1:keyint=1:threads=1:fullrange=on"
            ":colorprim=bt709:transfer=iec61966-2-1:colormatrix=bt709:chromaloc=1",
            "bsf:v": _STRIP_SEI,
        },
        r"x264 - (core \d+)",
    ),
    # qpa=0: perceptual QP adaptation moves the QP; intraqpoffset=0: so does its I-picture offset.
    "vvenc": _Encoder(
        "vvc",
        "libvvenc",
        {"qp": "{qp}", "qpa": "0", "vvenc-params": "intraqpoffset=0"},
        r"libvvenc version: (\S+)",
    ),
}


def encode(rgb: RGB, level: int | str, settings: Settings) -> Encoded:
    """One intra picture at slice QP ``level``; any size from 1x1 up (padded by edge repetition).

    Raises CodecError with the encoder's own message when it fails.
    """
    color.check(settings)
    padded = color.pad(rgb, MIN_SIDE)
    planes = color.rgb_to_planes(
        padded, settings["chroma"], settings["bit_depth"], settings["conversion"]
    )
    height, width = planes[0].shape
    command, args = _command(settings, level, (width, height), "error")
    seconds = processes.encoder_limit(
        _ENCODERS[settings["encoder"]].codec, settings, width * height
    )
    bitstream, printed, status = _run(command, _raw(planes), seconds)
    if status or not bitstream:
        lines = printed.strip().splitlines() or [f"it ended with status {status}"]
        if status < 0:
            lines = [f"it was ended by signal {-status}"]
        raise CodecError(f"{settings['encoder']} failed: {re.sub(r'0x[0-9a-f]+', '', lines[0])}")
    return Encoded(bitstream, args)


def _run(
    command: Sequence[str], raw: bytes, seconds: float = processes.LEAST_SECONDS
) -> tuple[bytes, str, int]:
    """(bitstream, what was printed, exit status) of an ffmpeg command that writes to ``{out}``.

    The bitstream has a pipe of its own: libvvenc prints warnings to standard output, where they
    would end up inside the last NAL unit. Raises EndedError after ``seconds``.
    """
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as bitstream, tempfile.TemporaryFile() as log:
        try:
            process = processes.start(
                [part.format(out=writer) if part == _OUTPUT else part for part in command],
                stdout=log,
                stderr=log,
                pass_fds=(writer,),
            )
        finally:
            os.close(writer)
        with processes.watched(process, "ffmpeg", seconds):
            assert process.stdin is not None
            with suppress(BrokenPipeError), process.stdin as pipe:  # it died: its log says why
                pipe.write(raw)
            data = bitstream.read()
        log.seek(0)
        return data, log.read().decode(errors="replace"), process.returncode


def _raw(planes: color.Planes) -> bytes:
    return b"".join(np.ascontiguousarray(plane).data for plane in planes)


def _command(
    settings: Settings, level: int | str, size: tuple[int, int], loglevel: str
) -> tuple[list[str], str]:
    """(whole ffmpeg command, the encoder's part of it as text for the manifest)."""
    encoder = _ENCODERS[settings["encoder"]]
    depth = settings["bit_depth"]
    pixels = f"yuv{settings['chroma']}p" + ("" if depth == 8 else f"{depth}le")
    # x264 counts QP from 0 at any depth, the standard from -6 * (depth - 8).
    qp = int(level) + (6 * (depth - 8) if encoder.library == "libx264" else 0)
    options = {key: text.format(qp=qp, log=loglevel) for key, text in encoder.options.items()}
    stream = ffmpeg.input("pipe:0", format="rawvideo", pix_fmt=pixels, video_size=size, framerate=1)
    output = stream.output(
        _OUTPUT,
        format=FFMPEG_NAMES[encoder.codec],
        **{"c:v": encoder.library, "preset": settings["preset"], "threads": settings["threads"]},
        **options,
    ).global_args("-hide_banner", "-loglevel", loglevel)
    command: list[str] = output.compile(cmd=ffmpeg_binary.path())
    shown = " ".join(f"-{key} {value}" for key, value in options.items())
    args = f"-c:v {encoder.library} -pix_fmt {pixels} -preset {settings['preset']} {shown}"
    return command, args


def decode(bitstream: bytes, size: tuple[int, int], settings: Settings) -> RGB:
    """Pixels of an elementary stream, padding cropped away. Raises CodecError."""
    codec = _ENCODERS[settings["encoder"]].codec
    coded = max(MIN_SIDE, size[0] + size[0] % 2), max(MIN_SIDE, size[1] + size[1] % 2)
    planes, depth = decode_planes(codec, bitstream, coded, settings["chroma"])
    if depth != settings["bit_depth"]:
        raise CodecError(f"this {codec} bitstream has {depth} bits, not {settings['bit_depth']}")
    rgb = color.planes_to_rgb(planes, depth, settings["conversion"])
    return np.ascontiguousarray(rgb[: size[0], : size[1]])


def decode_planes(
    codec: str, bitstream: bytes, size: tuple[int, int], chroma: str
) -> tuple[color.Planes, int]:
    """(Y'CbCr planes, bit depth) of the one picture in an ``avc``, ``hevc`` or ``vvc`` stream.

    Raises CodecError unless it is one picture of ``size`` (H, W) and ``chroma`` ("420" or "444"),
    without making room for a much larger one.
    """
    context: Any = av.CodecContext.create(FFMPEG_NAMES[codec], "r")
    # FFmpeg 8.1's VVC decoder gives wrong pixels now and then with more than one thread.
    context.thread_count = 1
    # What is cropped away counts, too: at most a coding block at each edge.
    context.options = {"max_pixels": str((size[0] + _BLOCK) * (size[1] + _BLOCK))}
    frames: list[Any] = []
    try:
        for packet in [*context.parse(bitstream), *context.parse(None), None]:
            frames += context.decode(packet)
            if len(frames) > 1:
                raise CodecError(f"this {codec} bitstream holds more than one picture")
    except av.error.FFmpegError as error:
        raise CodecError(
            f"FFmpeg cannot decode this {codec} bitstream ({error.strerror})"
        ) from error
    if not frames:
        raise CodecError(f"this {codec} bitstream holds no picture")
    (frame,) = frames
    if (frame.height, frame.width) != size or frame.format.name[:7] not in _formats(chroma):
        raise CodecError(
            f"this {codec} bitstream is {frame.width}x{frame.height} {frame.format.name}, "
            f"not {size[1]}x{size[0]} of chroma {chroma}"
        )
    depth = frame.format.components[0].bits
    dtype = np.dtype(np.uint8 if depth == 8 else "<u2")
    y, cb, cr = (_samples(plane, dtype) for plane in frame.planes)
    return (y, cb, cr), depth


def _formats(chroma: str) -> tuple[str, str]:
    """How FFmpeg's names of Y'CbCr formats begin; "yuvj" is the full range of 8-bit ones."""
    return f"yuv{chroma}p", f"yuvj{chroma}"


def _samples(plane: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A copy of one plane without the padding at the end of its lines."""
    lines: NDArray[Any] = np.frombuffer(plane, dtype)
    lines = lines.reshape(plane.height, plane.line_size // dtype.itemsize)
    return lines[:, : plane.width].copy()


def level_of(bitstream: bytes, settings: Settings) -> int:
    """The slice QP in the bitstream."""
    return slice_qp(_ENCODERS[settings["encoder"]].codec, bitstream)


def probe(settings: Settings) -> Probe:
    """Version of the encoder library and of the ffmpeg that carries it."""
    try:
        return _probe(settings["encoder"])
    except (UnavailableError, processes.EndedError) as error:
        return Probe(False, hint=str(error))


@cache
def _probe(name: str) -> Probe:
    encoder = _ENCODERS[name]
    depth = 10 if name == "vvenc" else 8
    settings = {"encoder": name, "preset": "faster", "chroma": "420", "bit_depth": depth}
    command, _ = _command(settings | {"threads": 1}, 32, (MIN_SIDE, MIN_SIDE), "info")
    command = [part for part in command if part not in ("-bsf:v", _STRIP_SEI)]  # x264: version
    grey = bytes(MIN_SIDE * MIN_SIDE * 3 // 2 * (1 if depth == 8 else 2))
    bitstream, printed, status = _run(command, grey)
    printed += bitstream.decode("latin-1")
    release = ffmpeg_binary.release()
    found = re.search(encoder.version, printed)
    if status or not release:
        lacks = f"{ffmpeg_binary.path()} has no {encoder.library}"
        return Probe(False, hint=f"{lacks}; unset IMAGEIO_FFMPEG_EXE to use another")
    version = found[1] if found else "of unknown version"
    decoder = f"FFmpeg {av.ffmpeg_version_info} (PyAV {av.__version__})"
    return Probe(True, f"{encoder.library} {version} (ffmpeg {release})", decoder)
