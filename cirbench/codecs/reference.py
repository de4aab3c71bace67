"""VTM, HM and JM: the reference encoders of VVC, HEVC and AVC, where the user has them.

One all-intra picture, one thread, no QP offset for I slices: the level is the slice QP. VTM and HM
pad to their coding blocks themselves, by edge repetition, and write the cropping into the
bitstream, which so holds the image's own size (rounded up to even for 4:2:0); JM's bitstreams hold
the size rounded up to 16.

``bit_depth`` is the depth the codec works at, with one exception: CompressAI's bench, and so
``compressai-compat``, gives VTM and HM 8-bit samples, has them work at the 10 bits of their config
files, and rounds the decoded samples to 8 bits.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np

from ..color import Plane, Planes, check, pad, planes_to_rgb, rgb_to_planes
from ..errors import CodecError, UnavailableError
from . import processes
from .base import RGB, Encoded, Probe, Settings
from .bitstream import slice_qp
from .reference_tools import SOFTWARE, locate
from .video import decode_planes


def probe(settings: Settings) -> Probe:
    """Is the encoder named in ``settings`` here, with all it needs, and which version is it?"""
    try:
        installed = locate(settings["encoder"])
        installed.config(_config_name(settings))
        if _needs_own_decoder(settings):
            installed.own_decoder()
    except UnavailableError as error:
        return Probe(False, hint=str(error))
    pyav = f"FFmpeg {av.ffmpeg_version_info} (PyAV {av.__version__})"
    decoder = installed.version if _needs_own_decoder(settings) else pyav
    return Probe(True, installed.version, decoder)


def encode(rgb: RGB, level: int | str, settings: Settings) -> Encoded:
    """Code one image (uint8, (H, W, 3), any size from 1x1 up) at slice QP ``level``.

    The result carries the encoder's own reconstruction and its arguments without file names.

    Raises:
        UnavailableError: the software, or a file of it, is not on this machine.
        CodecError: the encoder failed; gives its own reason.
        CirbenchError: chroma, bit depth and conversion do not go together.
    """
    check(settings)
    name, chroma, depth = settings["encoder"], settings["chroma"], settings["bit_depth"]
    installed = locate(name)
    config = installed.config(_config_name(settings))
    multiple = _multiple(settings)
    padded = pad(rgb, multiple, multiple)
    planes = rgb_to_planes(padded, chroma, depth, settings["conversion"])
    height, width = planes[0].shape
    tell = _jm_arguments if name == "jm" else _hm_arguments
    files, arguments = tell(int(level), (height, width), settings)
    flag = "-d" if name == "jm" else "-c"
    seconds = processes.encoder_limit(SOFTWARE[name].codec, settings, width * height)
    with processes.scratch() as work:
        (work / "in.yuv").write_bytes(b"".join(_samples(plane) for plane in planes))
        command = [str(installed.encoder), flag, str(config), *files, *arguments]
        outputs = ("out.bin", "rec.yuv")
        bitstream, raw = _run(command, work, SOFTWARE[name].title, outputs, seconds)
    reconstruction = _to_rgb(_split(raw, (height, width), settings), rgb.shape[:2], settings)
    return Encoded(bitstream, " ".join([flag, config.name, *arguments]), reconstruction)


def decode(bitstream: bytes, size: tuple[int, int], settings: Settings) -> RGB:
    """Pixels of a bitstream of VTM, HM or JM: uint8, (H, W, 3), cropped to ``size`` = (H, W).

    PyAV decodes them to exactly the encoder's reconstruction, except 8-bit VVC: FFmpeg 8.1's
    AVX2 adaptive loop filter gets 8-bit luma wrong. That one goes to VTM's own decoder.

    Raises:
        CodecError: no decodable picture, or not one of this size and depth.
        UnavailableError: 8-bit VVC without VTM's decoder.
    """
    software = SOFTWARE[settings["encoder"]]
    expected = _coded_size(size, settings)
    if _needs_own_decoder(settings):
        planes, depth = _decode_with_vtm(bitstream, expected, settings), 8
    else:
        planes, depth = decode_planes(software.codec, bitstream, expected, settings["chroma"])
    found = planes[0].shape
    if found != expected or depth != _coded_depth(settings):
        raise CodecError(
            f"this {software.title} bitstream holds {found[1]}x{found[0]} pixels of {depth} bits, "
            f"not {expected[1]}x{expected[0]} of {_coded_depth(settings)}"
        )
    return _to_rgb(planes, size, settings)


def level_of(bitstream: bytes, settings: Settings) -> int:
    """The slice QP in the bitstream."""
    return slice_qp(SOFTWARE[settings["encoder"]].codec, bitstream)


# What the encoders are told


def _config_name(settings: Settings) -> str:
    if settings["encoder"] == "vtm":
        return "encoder_intra_vtm.cfg"
    if settings["encoder"] == "jm":
        return "encoder_JM_Intra_HE.cfg"
    if settings["chroma"] == "444":
        return "encoder_intra_main_rext.cfg"
    return "encoder_intra_main.cfg" if settings["bit_depth"] == 8 else "encoder_intra_main10.cfg"


def _hm_arguments(
    qp: int, size: tuple[int, int], settings: Settings
) -> tuple[list[str], list[str]]:
    """(files, everything else) for HM and for VTM, which grew out of it; ``size`` = (H, W)."""
    depth = _coded_depth(settings)
    arguments = f"-wdt {size[1]} -hgt {size[0]} -fr 1 -f 1 -q {qp}".split()
    options: dict[str, int | str] = {
        "InputChromaFormat": settings["chroma"],
        "InputBitDepth": settings["bit_depth"],
        "InternalBitDepth": depth,
        "OutputBitDepth": depth,
        "ConformanceWindowMode": 1,
        "SEIDecodedPictureHash": 0,
    }
    if settings["encoder"] == "hm":
        options["Level"] = "5.1" if settings["conversion"] == "compressai-compat" else "6.2"
    arguments += [f"--{key}={value}" for key, value in options.items()]
    return ["-i", "in.yuv", "-b", "out.bin", "-o", "rec.yuv"], arguments


def _jm_arguments(
    qp: int, size: tuple[int, int], settings: Settings
) -> tuple[list[str], list[str]]:
    """(files, everything else) for JM; ``size`` = (H, W)."""
    files = {"InputFile": "in.yuv", "OutputFile": "out.bin", "ReconFile": "rec.yuv"}
    # JM 19.0 crashes on the empty trace file name in its own config.
    files |= {"TraceFile": "trace.txt", "StatsFile": "stats.txt"}
    depth, full_chroma = settings["bit_depth"], settings["chroma"] == "444"
    options: dict[str, int] = {"FramesToBeEncoded": 1, "QPISlice": qp}
    for end in ("Source", "Output"):
        options |= {f"{end}Width": size[1], f"{end}Height": size[0]}
        options |= {f"{end}BitDepthLuma": depth, f"{end}BitDepthChroma": depth}
    options["YUVFormat"] = 3 if full_chroma else 1
    # High 4:4:4 Predictive, High 10, High (H.264 A.2)
    options["ProfileIDC"] = 244 if full_chroma else 110 if depth == 10 else 100
    # JM refuses these with 4:4:4; I slices do not use them.
    options |= {"WeightedPrediction": 0, "WeightedBiprediction": 0}

    def words(values: Mapping[str, str | int]) -> list[str]:
        return [word for key, value in values.items() for word in ("-p", f"{key}={value}")]

    return words(files), words(options)


def _coded_depth(settings: Settings) -> int:
    """Bits per sample the codec works at."""
    if settings["conversion"] == "compressai-compat" and settings["encoder"] != "jm":
        return 10
    return int(settings["bit_depth"])


def _coded_size(size: tuple[int, int], settings: Settings) -> tuple[int, int]:
    """(H, W) of the picture in the bitstream of an image of ``size``."""
    multiple = _multiple(settings)
    return -(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple


def _multiple(settings: Settings) -> int:
    """What both sides given to the encoder divide by."""
    return max(_step(settings), SOFTWARE[settings["encoder"]].multiple)


def _step(settings: Settings) -> int:
    """Luma samples per chroma sample, each way."""
    return 2 if settings["chroma"] == "420" else 1


# Running them


def _run(
    command: list[str], folder: Path, title: str, outputs: tuple[str, ...], seconds: float
) -> tuple[bytes, ...]:
    """Run in ``folder``; contents of the files it has to write.

    Raises CodecError when it fails, EndedError when it hangs for ``seconds``.
    """
    done = processes.run(command, title, seconds, cwd=folder)
    if done.returncode:
        raise CodecError(f"{title} failed: {_reason(done)}")
    files = [folder / name for name in outputs]
    for file in files:
        if not file.is_file() or not file.stat().st_size:
            raise CodecError(f"{title} reported no error but wrote no {file.name}")
    return tuple(file.read_bytes() for file in files)


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """The last line that speaks of an error, else the last line with words in it."""
    if done.returncode < 0:
        return f"it was ended by signal {-done.returncode}"
    text = (done.stdout + b"\n" + done.stderr).decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if re.search(r"[A-Za-z]{2}", line)]
    errors = [line for line in lines if re.search(r"\b(error|not|cannot)\b", line, re.IGNORECASE)]
    return (errors or lines or [f"exit status {done.returncode} and no message"])[-1]


def _needs_own_decoder(settings: Settings) -> bool:
    return settings["encoder"] == "vtm" and _coded_depth(settings) == 8


def _decode_with_vtm(bitstream: bytes, size: tuple[int, int], settings: Settings) -> Planes:
    decoder = locate(settings["encoder"]).own_decoder()
    seconds = processes.encoder_limit("vvc", settings, size[0] * size[1])
    with processes.scratch() as work:
        (work / "in.bin").write_bytes(bitstream)
        command = [str(decoder), "-b", "in.bin", "-o", "out.yuv", "-d", "8"]
        (raw,) = _run(command, work, "VTM's decoder", ("out.yuv",), seconds)
    return _split(raw, size, settings)


# Planes and files


def _samples(plane: Plane) -> bytes:
    """Raw file content: 8-bit samples in one byte, deeper ones in two, little-endian."""
    return plane.astype("u1" if plane.dtype == np.uint8 else "<u2").tobytes()


def _split(raw: bytes, size: tuple[int, int], settings: Settings) -> Planes:
    """Planes in the content of a raw file at the coded depth; ``size`` = (H, W) of luma."""
    height, width = size
    small = (height // _step(settings), width // _step(settings))
    values = np.frombuffer(raw, "u1" if _coded_depth(settings) == 8 else "<u2")
    luma, chroma = height * width, small[0] * small[1]
    if values.size != luma + 2 * chroma:
        title = SOFTWARE[settings["encoder"]].title
        raise CodecError(f"{title} wrote {len(raw)} bytes for a picture of {width}x{height}")
    y, cb, cr = np.split(values, [luma, luma + chroma])
    return y.reshape(size), cb.reshape(small), cr.reshape(small)


def _to_rgb(planes: Planes, size: tuple[int, ...], settings: Settings) -> RGB:
    """RGB of decoded planes (at the coded depth), cropped to ``size`` = (H, W)."""
    depth = settings["bit_depth"]
    extra = _coded_depth(settings) - depth
    if extra:  # round half up, as the reference decoders do when asked for 8 bits
        half, peak = 1 << (extra - 1), (1 << depth) - 1
        y, cb, cr = (
            np.minimum((plane.astype(np.uint16) + half) >> extra, peak).astype(np.uint8)
            for plane in planes
        )
        planes = (y, cb, cr)
    rgb = planes_to_rgb(planes, depth, settings["conversion"])
    return np.ascontiguousarray(rgb[: size[0], : size[1]])
