"""Where a data set's files lie and how they get there: whole, or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import imagecodecs
import numpy as np

from .. import png
from ..codecs import RGB, Codec
from ..errors import CirbenchError, InputError
from ..limits import MAX_PIXELS

MODES = ("png", "bitstream", "bitstream-only")
_PNG_FILTER_UP = 32  # libpng's PNG_FILTER_UP: half the time of trying all filters, same size
TEMPORARY = ".tmp"  # one folder, so that a killed build's leftovers go in one sweep


class StoreError(CirbenchError):
    """A file could not be written: the build stops, what is done stays."""


def folder(codec: str, level: str, variant: str) -> str:
    """``<codec>/<level>``; for a variant ``<codec>/<level>+<what differs>``."""
    slug = re.sub(r"[^A-Za-z0-9._=-]+", "_", variant)
    return f"{codec}/{level}+{slug}" if variant else f"{codec}/{level}"


def keeps_pixels(mode: str, codec: Codec) -> bool:
    """Whether ``--store mode`` keeps LQ pixels of this codec beside its bitstreams."""
    return mode == "png" or (mode == "bitstream" and codec.decode_cost == "slow")


def lq_path(codec: str, level: str, variant: str, set_name: str, name: str) -> str:
    """Path of an LQ image inside the data set: ``lq/jpeg/qf10/live1/bikes.png``."""
    return f"lq/{folder(codec, level, variant)}/{set_name}/{name}.png"


def bitstream_path(
    codec: str, level: str, variant: str, set_name: str, name: str, extension: str
) -> str:
    """Path of a bitstream inside the data set: ``bitstreams/jpeg/qf10/live1/bikes.jpg``."""
    return f"bitstreams/{folder(codec, level, variant)}/{set_name}/{name}.{extension}"


def inside(root: Path, relative: str) -> Path:
    """``root / relative``. Raises CirbenchError when that would leave ``root``."""
    path = PurePosixPath(relative)
    if not relative or path.is_absolute() or ".." in path.parts or "\0" in relative:
        raise CirbenchError(f"the path {relative!r} leaves its folder {root}; refused")
    return root / path


def write(root: Path, relative: str, data: bytes | memoryview) -> None:
    """Put ``data`` at ``root/relative``: under a temporary name first, then renamed.

    Raises StoreError when the disk is full, read-only or not ours to write.
    """
    target = inside(root, relative)
    temporary = _temporary(root, relative)
    try:
        try:
            temporary.write_bytes(data)
        except FileNotFoundError:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
        try:
            os.replace(temporary, target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(temporary, target)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StoreError(
            f"cannot write {target} ({error.strerror}); make room or choose another --out, then "
            "run the same command again: finished rows are kept"
        ) from error


def link(root: Path, relative: str, to: Path) -> None:
    """Put a link to ``to`` at ``root/relative``, at once, whatever is there. Raises OSError."""
    target, temporary = inside(root, relative), _temporary(root, relative)
    for folder in (target.parent, temporary.parent):
        folder.mkdir(parents=True, exist_ok=True)
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(to)
    os.replace(temporary, target)


def _temporary(root: Path, relative: str) -> Path:
    """Where a file is made ready; no two processes of a cluster share it."""
    key = hashlib.sha256(relative.encode()).hexdigest()[:32]
    return root / TEMPORARY / f"{key}.{platform.node()[:64]}.{os.getpid()}"


def sweep(root: Path) -> None:
    """Remove what a killed build left half-written (the caller holds the lock)."""
    shutil.rmtree(root / TEMPORARY, ignore_errors=True)


@contextmanager
def lock(root: Path) -> Iterator[None]:
    """Hold the data set's lock: one writer at a time. The system frees it when the holder dies.

    Leftovers of a killed build are swept away first, and our own temporary folder at the end.

    Raises CirbenchError when another process holds it or the folder cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        handle = open(root / ".lock", "a")  # noqa: SIM115 (closed below, after the yield)
    except OSError as error:
        raise StoreError(
            f"cannot write to {root} ({error.strerror}); choose another --out"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CirbenchError(
                f"another cirbench is writing to {root}; wait for it or choose another --out"
            ) from None
        sweep(root)
        try:
            yield
        finally:
            sweep(root)
    finally:
        handle.close()


def sha256(data: bytes | memoryview) -> str:
    """Hex SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pixel_sha256(rgb: RGB) -> str:
    """Hex SHA-256 of an image's samples (uint8, row by row, RGB interleaved)."""
    return hashlib.sha256(np.ascontiguousarray(rgb).data).hexdigest()


def encode_png(rgb: RGB) -> bytes:
    """A PNG file of ``rgb``: the fastest settings that are no larger than zlib's usual ones."""
    return bytes(imagecodecs.png_encode(rgb, level=1, filter=_PNG_FILTER_UP))


def decode_png(data: bytes, name: str) -> RGB:
    """Pixels of a PNG this store wrote. Raises InputError naming ``name``."""
    if not png_is_intact(data):  # libpng does not check every byte, and fails less gracefully
        raise InputError(f"{name} is damaged (a PNG checksum differs)")
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    if width * height > MAX_PIXELS:
        raise InputError(f"{name} says it is {width}x{height}, more than {MAX_PIXELS} pixels")
    try:
        rgb: RGB = png.decode(data)
    except (imagecodecs.PngError, ValueError) as error:
        raise InputError(f"{name} is damaged ({error})") from error
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise InputError(f"{name} is not an 8-bit RGB PNG")
    return rgb


def png_is_intact(data: bytes) -> bool:
    """Every byte of a PNG belongs to a chunk whose CRC fits (decoders do not check them all)."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return False
    position, last = 8, b""
    while position + 12 <= len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        end = position + 12 + size
        last = data[position + 4 : position + 8]
        stored = int.from_bytes(data[end - 4 : end], "big")
        if end > len(data) or zlib.crc32(data[position + 4 : end - 4]) != stored:
            return False
        position = end
    return position == len(data) and last == b"IEND"
