"""Decoded pictures on disk, read a few tiles at a time: a crop costs the bytes it touches.

A file per picture: header, a CRC-32 per tile, then its 64x64 tiles row by row as raw RGB (those at
the edges padded with zeros). A 256x256 crop reads at most 25 tiles, 0.3 MB, in 5 reads, and checks
every tile.

Any number of processes may share a folder: entries appear whole (written elsewhere, renamed), are
never changed, and room is given out under a lock.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from ..codecs import RGB
from ..errors import CirbenchError
from .transforms import Box

SIDE = 64
_TILE = SIDE * SIDE * 3
_HEADER = struct.Struct("<8sII")
_MAGIC = b"CIRTILE1"
_PAUSE = 60.0  # seconds until a full cache is asked for room again
_STALE = 3600.0  # seconds after which an unfinished file has lost its writer


class TileCache:
    """Decoded pictures in ``folder``, together at most ``limit`` bytes.

    When there is no room, entries that no one has used since this cache was opened go first, the
    oldest of them first. Those in use stay: every picture is needed once in an epoch, so putting
    one in another's place gains nothing and costs a write.

    Raises CirbenchError when the folder cannot be made or written.
    """

    def __init__(self, folder: str | Path, limit: int) -> None:
        self.folder, self.limit = Path(folder).expanduser(), limit
        self._opened = time.time()
        self._full_until = 0.0
        if limit < 1:
            raise CirbenchError(f"the cache's limit cannot be {limit} bytes; it is at least 1")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._lock():
                for left in self.folder.glob("*.tmp"):
                    if left.stat().st_mtime < self._opened - _STALE:
                        left.unlink()
                self._set_total(self._make_room(0))
        except OSError as error:
            raise CirbenchError(
                f"the cache {self.folder} cannot be used ({error.strerror}); choose another folder"
            ) from error

    @property
    def full(self) -> bool:
        """No room was found a moment ago: do not offer more."""
        return time.monotonic() < self._full_until

    @property
    def bytes(self) -> int:
        """Bytes of all entries now."""
        return sum(size for _, size, _ in self._entries())

    def get(self, key: str, shape: tuple[int, int], box: Box | None = None) -> RGB | None:
        """Pixels of an entry, uint8; all of it, or those in ``box``.

        Args:
            key: name of the entry; letters, digits and ``-``.
            shape: height and width the entry must have.
            box: top, left, height, width inside it.

        Returns:
            None when there is no such entry. One that is damaged is removed and None, too.
        """
        path = self._path(key)
        try:
            file = os.open(path, os.O_RDONLY)
        except OSError:
            return None
        try:
            pixels = _read(file, shape, box or (0, 0, *shape))
            if os.fstat(file).st_mtime < self._opened:
                with suppress(OSError):  # a folder shared for reading only
                    os.utime(file)
        except (ValueError, OSError):
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        finally:
            os.close(file)
        return pixels

    def put(self, key: str, rgb: RGB) -> bool:
        """Keep ``rgb``, uint8 (H, W, 3). False when there is no room for it."""
        path = self._path(key)
        if self.full or path.exists():
            return path.exists()
        size = _size(*rgb.shape[:2])
        temporary = self.folder / f"{key}.{os.getpid()}.{threading.get_ident()}.tmp"
        try:
            if not self._reserve(size):
                self._full_until = time.monotonic() + _PAUSE
                return False
            try:
                _write(temporary, rgb)
                path.parent.mkdir(exist_ok=True)
                os.replace(temporary, path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            self._full_until = time.monotonic() + _PAUSE
            warnings.warn(
                f"the cache {self.folder} cannot be written ({error.strerror}); "
                "pictures are decoded again",
                stacklevel=2,
            )
            return False
        return True

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.tiles"

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with open(self.folder / ".lock", "a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _reserve(self, size: int) -> bool:
        """Count ``size`` bytes more as used, after removing what may go for them."""
        with self._lock():
            total = self._total()
            if total + size > self.limit:
                total = self._make_room(size)
            fits = total + size <= self.limit
            self._set_total(total + size * fits)
        return fits

    def _make_room(self, size: int) -> int:
        """Remove entries until ``size`` bytes more fit; returns the bytes that are left in use.

        Entries used since the cache was opened go only when even they are over the limit.
        """
        entries = sorted(self._entries())
        total = sum(size_ for _, size_, _ in entries)
        for used, size_, path in entries:
            if total + size <= self.limit or (used >= self._opened and total <= self.limit):
                break
            with suppress(FileNotFoundError):
                path.unlink()
            total -= size_
        return total

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """(last used, bytes, path) of every entry."""
        for path in self.folder.glob("??/*.tiles"):
            with suppress(FileNotFoundError):  # another process removed it
                status = path.stat()
                yield status.st_mtime, status.st_size, path

    def _total(self) -> int:
        """Bytes given out; entries removed as damaged count until the next scan."""
        try:
            return int((self.folder / ".bytes").read_text())
        except (OSError, ValueError):
            return self.bytes

    def _set_total(self, total: int) -> None:
        (self.folder / ".bytes").write_text(str(total))


def _grid(height: int, width: int) -> tuple[int, int]:
    return -(-height // SIDE), -(-width // SIDE)


def _size(height: int, width: int) -> int:
    down, across = _grid(height, width)
    return _HEADER.size + down * across * (4 + _TILE)


def _write(path: Path, rgb: RGB) -> None:
    height, width = rgb.shape[:2]
    down, across = _grid(height, width)
    padded = np.zeros((down * SIDE, across * SIDE, 3), np.uint8)
    padded[:height, :width] = rgb
    tiles = padded.reshape(down, SIDE, across, SIDE, 3).swapaxes(1, 2).reshape(-1, _TILE)
    sums = np.array([zlib.crc32(tile) for tile in tiles], "<u4")
    with path.open("wb") as file:
        file.write(_HEADER.pack(_MAGIC, height, width))
        file.write(sums.data)
        file.write(tiles.data)


def _read(file: int, shape: tuple[int, int], box: Box) -> RGB:
    """Pixels in ``box`` of an open entry. Raises ValueError when it is not what it has to be."""
    down, across = _grid(*shape)
    head = os.pread(file, _HEADER.size + 4 * down * across, 0)
    if len(head) != _HEADER.size + 4 * down * across:
        raise ValueError("cut off")
    if _HEADER.unpack_from(head) != (_MAGIC, *shape):
        raise ValueError("another picture")
    sums = np.frombuffer(head, "<u4", offset=_HEADER.size).reshape(down, across)
    top, left, height, width = box
    first, last = left // SIDE, -(-(left + width) // SIDE)
    above, below = top // SIDE, -(-(top + height) // SIDE)
    pixels = np.empty((below - above, SIDE, last - first, SIDE, 3), np.uint8)
    for row in range(above, below):
        at = len(head) + (row * across + first) * _TILE
        data = os.pread(file, (last - first) * _TILE, at)
        tiles = np.frombuffer(data, np.uint8).reshape(-1, _TILE)  # ValueError when cut off
        found = [zlib.crc32(tile) for tile in tiles]
        if found != sums[row, first:last].tolist():
            raise ValueError("damaged")
        pixels[row - above] = tiles.reshape(-1, SIDE, SIDE, 3).swapaxes(0, 1)
    y, x = top - above * SIDE, left - first * SIDE
    whole = pixels.reshape((below - above) * SIDE, (last - first) * SIDE, 3)
    return whole[y : y + height, x : x + width]
