"""What the learned codecs share: is torch here, one fixed way to compute, a checksum of streams."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

from ..errors import CodecError, UnavailableError
from .base import Probe, Settings


def probe(settings: Settings, title: str) -> Probe:
    """Whether torch, compressai and the wanted device are here, and their versions.

    Imports neither package for ``device = "cpu"``.
    """
    needs = ("torch", "compressai")
    missing = [name for name in needs if not importlib.util.find_spec(name)]
    if missing:
        hint = f"{title} needs {' and '.join(missing)}: pip install 'cirbench[learned]'"
        return Probe(False, hint=f"{hint} (Python 3.11 or 3.12)")
    version = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in needs)
    problem = device_problem(settings["device"])
    return Probe(not problem, version, decoder=version, hint=problem)


def probe_weights(found: Probe, resolve: Callable[[Any], object], levels: Sequence[Any]) -> Probe:
    """``found``, or why not when :func:`cirbench.weights.resolve` has weights for no level."""
    problems = []
    for level in levels if found.available else ():
        try:
            resolve(level)
        except UnavailableError as error:
            problems.append(str(error))
    if problems and len(problems) == len(levels):
        return Probe(False, found.version, hint=problems[0])
    return found


def device_problem(device: str) -> str:
    """Why torch cannot use ``device`` (``cpu``, ``cuda`` or ``mps``), or ``""``."""
    if device == "cpu":
        return ""
    import torch

    there = torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()
    return "" if there else f"torch {torch.__version__} sees no {device} device; use --device cpu"


@contextmanager
def steady(threads: int) -> Iterator[None]:
    """The same arithmetic every time: fixed threads, full-precision deterministic kernels.

    torch's thread count is the process's: blocks that use one thread run side by side (rows of
    ``--jobs 2``), a block that uses more runs alone, and afterwards all is as it was. No gradients
    inside. Not to be nested: use :func:`counted` for that.
    """
    import torch

    with _GATE.inside(threads), torch.inference_mode():
        torch.set_num_threads(threads)  # also OpenMP's count, which is the calling thread's own
        yield


class _Gate:
    """Lets blocks with one thread in together and any other one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._threads = 0
        self._process = ExitStack()

    @contextmanager
    def inside(self, threads: int) -> Iterator[None]:
        """Wait for a place, and hold it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._inside or self._threads == threads == 1)
            if not self._inside:
                self._threads = threads
                self._process = _process_wide(threads)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                if not self._inside:
                    self._process.close()
                self._changed.notify_all()


_GATE = _Gate()


def _process_wide(threads: int) -> ExitStack:
    """Set what is the whole process's; closing the result puts it back."""
    import torch

    stack = ExitStack()
    stack.enter_context(_kept_memory())
    stack.enter_context(counted(threads))
    cudnn = torch.backends.cudnn.flags
    stack.enter_context(cudnn(enabled=True, benchmark=False, deterministic=True, allow_tf32=False))
    return stack


@contextmanager
def counted(threads: int) -> Iterator[None]:
    """torch on ``threads`` CPU threads inside the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _kept_memory() -> Iterator[None]:
    """Let glibc keep the memory of a layer for the next one.

    By default every feature map above 32 MB is its own mapping, which the kernel zeroes page by
    page and drops again: a third of the time of a transform at 768x512. Inside the block large
    blocks come from the heap; afterwards up to 1 GiB of it stays with the process.
    """
    mallopt = _mallopt()
    if mallopt is None:
        yield
        return
    mallopt(_M_TRIM_THRESHOLD, 1 << 30)
    mallopt(_M_MMAP_MAX, 0)
    try:
        yield
    finally:
        mallopt(_M_MMAP_MAX, 65536)  # glibc's default


# glibc's malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


@cache
def _mallopt() -> Callable[[int, int], int] | None:
    """glibc's ``mallopt``, None with another C library."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "mallopt", None)


def readable(stream: bytes, symbols: int) -> bytes:
    """A rANS stream of ``symbols`` integers as the decoder can be given it: with zeros after it.

    CompressAI's decoder does not look for the end: a wrong stream has it read on, at an escaped
    number up to 15 times as far as the stream is long.

    Raises CodecError for a stream longer than so many 32-bit integers ever are.
    """
    if len(stream) > 8 * symbols + 64:
        raise CodecError(f"the bitstream holds {len(stream)} bytes for {symbols} numbers: damaged")
    return stream + bytes(16 * len(stream) + 8 * symbols + 64)


def checksum(sha256: str, size: tuple[int, int], stream: bytes) -> bytes:
    """CRC-32 (4 bytes, big-endian) of the weights' hash, the picture's (H, W) and its stream."""
    start = zlib.crc32(f"{sha256} {size[0]}x{size[1]}".encode())
    return zlib.crc32(stream, start).to_bytes(4, "big")
