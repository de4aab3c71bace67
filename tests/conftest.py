"""Shared fixtures: small pieces of real photos, a set to train on, a place without weights."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

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


@pytest.fixture(scope="session")
def training_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small smooth pictures through JPEG and WebP, all for training; hq/ lies beside it."""
    import cirbench

    folder = tmp_path_factory.mktemp("train")
    (folder / "hq").mkdir()
    rng = np.random.default_rng(0)
    for index in range(2):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
        coarse.resize((96, 96), Image.Resampling.BICUBIC).save(folder / f"hq/{index}.png")
    out = folder / "data"
    cirbench.build(folder / "hq", codec="jpeg,webp", quality=[5, 10], out=out, split="train")
    return out


@pytest.fixture
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the only place where weights are looked for."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("CIRBENCH_WEIGHTS", str(folder))
    for name in ("XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    return folder
