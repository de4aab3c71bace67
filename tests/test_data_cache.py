"""The cache of decoded pictures: exact, bounded, safe with several processes, never wrong."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cirbench.data import cache as cache_module
from cirbench.data import transforms
from cirbench.data.cache import TileCache
from cirbench.errors import CirbenchError


@given(st.data())
def test_cached_pixels_equal_the_picture(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    height, width = data.draw(st.integers(1, 200)), data.draw(st.integers(1, 200))
    rgb = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    cache = TileCache(tmp_path_factory.mktemp("cache"), 10**6)
    assert cache.get("ab", (height, width)) is None
    assert cache.put("ab", rgb)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    box = (
        top,
        left,
        data.draw(st.integers(1, height - top)),
        data.draw(st.integers(1, width - left)),
    )
    assert np.array_equal(cache.get("ab", (height, width)), rgb)
    assert np.array_equal(cache.get("ab", (height, width), box), transforms.cut(rgb, box))


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "other"])
def test_damaged_entries_are_forgotten(damage: str, photo: np.ndarray, tmp_path: Path) -> None:
    cache = TileCache(tmp_path, 10**6)
    cache.put("ab", photo)
    (entry,) = tmp_path.glob("ab/*")
    data = bytearray(entry.read_bytes())
    if damage == "bit":
        data[-1] ^= 1
    elif damage == "other":
        cache.put("cd", photo[:50])
        data = bytearray((tmp_path / "cd/cd.tiles").read_bytes())
    entry.write_bytes(data[: {"cut": 20_000, "empty": 0}.get(damage)])
    assert cache.get("ab", photo.shape[:2]) is None
    assert not entry.exists() and cache.put("ab", photo)
    assert np.array_equal(cache.get("ab", photo.shape[:2]), photo)


def test_the_limit_holds_and_what_is_unused_goes_first(photo: np.ndarray, tmp_path: Path) -> None:
    first = TileCache(tmp_path, 10**9)
    assert all(first.put(f"{n}x", photo) for n in range(4))
    for n in range(4):  # used long ago, 0x last
        os.utime(tmp_path / f"{n}x/{n}x.tiles", (100 - n, 100 - n))
    each = first.bytes // 4
    second = TileCache(tmp_path, 4 * each)
    assert second.get("3x", photo.shape[:2]) is not None  # the oldest, but in use again
    assert second.put("new", photo) and second.bytes == 4 * each
    assert second.get("2x", photo.shape[:2]) is None
    for n in range(2):
        assert second.put(f"more{n}", photo)
    assert not second.put("over", photo) and second.full
    assert second.bytes == 4 * each and second.get("3x", photo.shape[:2]) is not None
    assert TileCache(tmp_path, 2 * each).bytes == 2 * each


def _fill(folder: str) -> int:
    cache = TileCache(folder, 20 * cache_module._size(64, 64))
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (30, 64, 64, 3), np.uint8)
    kept = [cache.put(f"{n:02}", rgb) for n, rgb in enumerate(pictures)]
    read = [cache.get(f"{n:02}", (64, 64)) for n in range(30)]
    right = [
        got is None or np.array_equal(got, rgb) for got, rgb in zip(read, pictures, strict=True)
    ]
    return sum(kept) if all(right) else -1


def test_processes_share_a_cache(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, mp_context=get_context("fork")) as pool:
        kept = list(pool.map(_fill, [str(tmp_path)] * 3))
    assert min(kept) >= 15 and 15 <= len(list(tmp_path.glob("??/*"))) <= 20
    assert not list(tmp_path.glob("*.tmp"))


def test_an_unusable_cache_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CirbenchError, match="choose another folder"):
        TileCache(tmp_path / "file", 100)
    with pytest.raises(CirbenchError, match="at least 1"):
        TileCache(tmp_path, 0)
