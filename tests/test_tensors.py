"""Safetensors files: whole, and readable by whoever may read other new files."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402

from cirbench import tensors  # noqa: E402


def test_a_file_has_the_permissions_of_any_other_new_one(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    path = tmp_path / "made.safetensors"
    tensors.save({"a": torch.arange(3)}, path, {"note": "text"})
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"note": "text"}
        assert file.get_tensor("a").tolist() == [0, 1, 2]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["made.safetensors", "other"]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "made.safetensors"
    tensors.save({"a": torch.zeros(1)}, path)
    before = path.read_bytes()
    with pytest.raises(ValueError):
        tensors.save({"a": torch.zeros(4, 4).t()[1:]}, path)
    assert path.read_bytes() == before and [*tmp_path.iterdir()] == [path]
