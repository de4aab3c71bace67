"""Writing a safetensors file: whole or not at all, with the permissions of any other new file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def save(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write contiguous CPU tensors and notes under a temporary name, then rename.

    Raises OSError when it cannot be written, ValueError for other tensors; a file that was there
    stays.
    """
    part = path.with_name(path.name + ".part")
    part.touch()
    mode = part.stat().st_mode
    try:
        save_file(dict(tensors), part, dict(metadata or {}) or None)
        part.chmod(mode)  # safetensors makes its files readable by their owner alone
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
