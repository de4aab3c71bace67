"""Shared fixtures: a few small real photos, cut from scikit-image's wheel."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from cirbench.samples import sample_source
from cirbench.sources import read


def crop(name: str, size: tuple[int, int], at: tuple[int, int] = (60, 60)) -> np.ndarray:
    rgb = read(sample_source().root / name).rgb
    top, left = at
    return np.ascontiguousarray(rgb[top : top + size[0], left : left + size[1]])


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A 96x128 piece of a real photo, uint8 RGB."""
    return crop("chelsea.png", (96, 128))


@pytest.fixture(scope="session")
def _originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    pieces = (("chelsea.png", (64, 96)), ("coffee.png", (49, 65)), ("astronaut.png", (80, 56)))
    for name, size in pieces:
        (folder / name).write_bytes(imagecodecs.png_encode(crop(name, size)))
    return folder


@pytest.fixture
def photos(_originals: Path, tmp_path: Path) -> Path:
    """A folder of three small photos (one of odd size), the test's own."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for file in _originals.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder
