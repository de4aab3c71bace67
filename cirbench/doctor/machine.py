"""Cores, memory, and what torch sees."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import joblib

from .finding import NOTE, OK, PROBLEM, Finding

_LITTLE = 1e9
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def check() -> Iterator[Finding]:
    """Cores, memory, torch and the GPU."""
    yield Finding(OK, "cores", f"{joblib.cpu_count()} (rows that a build makes at a time)")
    size = memory()
    text = f"{size / 1e9:.1f} GB"
    if size < _LITTLE:
        yield Finding(NOTE, "memory", text, "build with --jobs 1, and photos in --tile 512")
    else:
        yield Finding(OK, "memory", text)
    yield from _torch()


def memory() -> float:
    """Bytes this process may use: the machine's, or its container's limit where that is less."""
    size = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for file in map(Path, _LIMITS):
        try:
            size = min(size, float(file.read_text()))
        except (OSError, ValueError):  # no container, or a limit of "max"
            continue
    return size


def _torch() -> Iterator[Finding]:
    if not find_spec("torch"):
        return  # the extras say so
    try:
        import torch

        float((torch.ones(8, 8) @ torch.ones(8, 8)).sum())
    except Exception as error:  # whatever a half-installed torch throws
        todo = "install it again: https://pytorch.org/get-started/locally"
        yield Finding(PROBLEM, "torch", f"does not run ({type(error).__name__}: {error})", todo)
        return
    yield Finding(OK, "torch", str(torch.__version__))
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            yield _cuda(index)
    elif torch.backends.mps.is_available():
        yield Finding(OK, "GPU", "mps")
    elif shutil.which("nvidia-smi"):
        yield Finding(
            NOTE,
            "GPU",
            f"there is an NVIDIA driver, but torch {torch.__version__} sees no GPU",
            "install a CUDA build of torch that fits it: https://pytorch.org/get-started/locally",
        )
    else:
        yield Finding(OK, "GPU", "none: everything runs on the CPU")


def _cuda(index: int) -> Finding:
    import torch

    facts = torch.cuda.get_device_properties(index)
    text = f"{facts.name}, {facts.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}"
    try:
        one = torch.ones(64, 64, device=f"cuda:{index}")
        float((one @ one).sum())
    except RuntimeError as error:
        why = str(error).splitlines()[0]
        return Finding(
            PROBLEM,
            "GPU",
            f"{text}: does not run ({why})",
            "free its memory, or install a build of torch for it; --device cpu works meanwhile",
        )
    return Finding(OK, "GPU", text)
