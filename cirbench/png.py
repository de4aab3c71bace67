"""PNG pixels by libpng."""

from __future__ import annotations

import ctypes
from typing import Any

import imagecodecs
from numpy.typing import NDArray


def decode(data: bytes) -> NDArray[Any]:
    """Pixels of a PNG, uint8 or uint16: (H, W) or (H, W, channels).

    Raises imagecodecs.PngError or ValueError for a damaged one.
    """
    try:
        pixels: NDArray[Any] = imagecodecs.png_decode(data)
    except imagecodecs.PngError:
        # png_decode (2026.1.14) loses a reference to None with every error; some thousands of
        # damaged files would end the process (Python 3.11), so each one is given back.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(None))
        raise
    return pixels
