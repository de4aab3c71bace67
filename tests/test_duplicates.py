"""Images in two sets or splits: equal pixels, or one picture resized and coded again."""

from __future__ import annotations

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import scipy.fft
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import cirbench
from cirbench import cli, duplicates
from cirbench.duplicates import BITS, THRESHOLD, Item, find, near, signature
from cirbench.samples import sample_source
from cirbench.sources import read


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def distance(one: np.ndarray, other: np.ndarray) -> int:
    return int((one != other).sum())


@pytest.fixture(scope="module")
def scenes() -> dict[str, np.ndarray]:
    source = sample_source()
    return {path: read(source.root / path).rgb for path, _ in source.files}


def test_signature_is_that_of_an_independent_dct(scenes: dict[str, np.ndarray]) -> None:
    for rgb in scenes.values():
        grey = Image.fromarray(rgb).convert("L").resize((64, 64), Image.Resampling.BOX)
        lowest = scipy.fft.dctn(np.asarray(grey, float))[:16, :16].ravel()[1:]
        assert (signature(rgb) == np.where(lowest > np.median(lowest), 1, -1)).all()


@pytest.mark.parametrize("change", ["half", "double", "qf30", "half+qf30", "quarter", "grey"])
def test_copies_are_near(scenes: dict[str, np.ndarray], change: str) -> None:
    for rgb in scenes.values():
        image = Image.fromarray(rgb)
        factor = {"half": 0.5, "double": 2, "half+qf30": 0.5, "quarter": 0.25}.get(change, 1)
        size = (round(image.width * factor), round(image.height * factor))
        image = image.resize(size, Image.Resampling.BICUBIC)
        if "qf30" in change:
            image = jpeg(image, 30)
        if change == "grey":
            image = image.convert("L").convert("RGB")
        assert distance(signature(rgb), signature(np.asarray(image))) <= THRESHOLD / 2


def test_different_photos_are_far_apart(scenes: dict[str, np.ndarray]) -> None:
    signatures = [signature(rgb) for rgb in scenes.values()]
    pairs = [(i, j) for i in range(len(signatures)) for j in range(i)]
    assert min(distance(signatures[i], signatures[j]) for i, j in pairs) > 1.5 * THRESHOLD


def test_flat_images_are_like_nothing() -> None:
    grey, white = (signature(np.full((40, 40, 3), value, np.uint8)) for value in (128, 255))
    assert not grey.any() and not [*near([grey, white, grey], BITS // 2 - 1)]


@given(st.lists(st.integers(0, BITS), max_size=8), st.integers(0, BITS))
def test_near_is_the_plain_double_loop(flipped: list[int], threshold: int) -> None:
    signatures = [np.ones(BITS, np.int8) for _ in flipped]
    for one, count in zip(signatures, flipped, strict=True):
        one[:count] = -1
    plain = [
        (i, j, distance(signatures[i], signatures[j]))
        for i in range(len(flipped))
        for j in range(i + 1, len(flipped))
    ]
    assert [*near(signatures, threshold)] == [one for one in plain if one[2] <= threshold]


def test_near_works_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    signatures = [np.where(rng.random(BITS) < 0.5, 1, -1).astype(np.int8) for _ in range(50)]
    signatures[40] = signatures[3].copy()
    signatures[40][:7] *= -1
    monkeypatch.setattr(duplicates, "_BLOCK", 8)
    assert [*near(signatures)] == [(3, 40, 7)]


def test_equal_pixels_are_reported_once_for_every_two_places() -> None:
    rng = np.random.default_rng(0)
    one, two = (np.where(rng.random(BITS) < 0.5, 1, -1).astype(np.int8) for _ in range(2))
    items = [
        Item("a", "train", "x", "1", one),
        Item("a", "train", "y", "1", one),
        Item("a", "test", "x", "1", one),
        Item("b", "", "z", "2", two),
        Item("c", "", "z", "1", one),
    ]
    pairs = find(items)
    assert [(p.one.label, p.other.label) for p in pairs] == [
        ("a/x (test)", "c/z"),
        ("a/x (train)", "a/x (test)"),
        ("a/x (train)", "c/z"),
    ]
    assert [p.crosses_splits for p in pairs] == [False, True, False]
    inside = [p for p in find(items, within=True) if p.one.place == p.other.place]
    assert [(p.one.path, p.other.path) for p in inside] == [("x", "y")]


def test_command_finds_copies_in_folders_and_data_sets(
    scenes: dict[str, np.ndarray], tmp_path: Path
) -> None:
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
    for path, rgb in scenes.items():
        (tmp_path / "train" / f"{path}.png").write_bytes(imagecodecs.png_encode(rgb[:300, :300]))
    cat = Image.fromarray(scenes["chelsea.png"][:300, :300])
    jpeg(cat.resize((150, 150)), 30).save(tmp_path / "test" / "cat.jpg", quality=30)
    cirbench.build(
        f"mine={tmp_path / 'train'}", codec="jpeg", quality=5, split="train", out=tmp_path / "a"
    )
    cirbench.build(
        f"web={tmp_path / 'test'}", codec="jpeg", quality=5, split="test", out=tmp_path / "b"
    )
    folders = [f"x={tmp_path / 'train'}", f"y={tmp_path / 'test'}"]
    result = CliRunner().invoke(cli.main, ["duplicates", *folders, "--jobs", "1"])
    assert result.exit_code == 0
    assert result.output.startswith("x/chelsea.png.png is y/cat.jpg: ")
    assert result.output.endswith("6 images (x: 5, y: 1), 1 pairs\n")
    data_sets = [str(tmp_path / "a"), str(tmp_path / "b")]
    result = CliRunner().invoke(cli.main, ["duplicates", *data_sets, "--jobs", "1"])
    assert result.exit_code == 1  # in train and in test
    assert "a:mine/chelsea.png.png (train) is b:web/cat.jpg (test)" in result.output
    exact = CliRunner().invoke(cli.main, ["duplicates", *data_sets, "--threshold", "-1"])
    assert exact.exit_code == 0 and exact.output.endswith("0 pairs\n")
