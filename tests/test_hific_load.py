"""HiFiC checkpoints: what is read, what is refused, and that nothing in them is executed."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from cirbench.codecs import torch_compat  # noqa: E402

torch_compat.import_torchvision()
pytest.importorskip("compressai")

from tiny_hific import HIGH, LOW, MED, args_of, model_of, save  # noqa: E402

from cirbench.codecs import hific_load  # noqa: E402
from cirbench.errors import CirbenchError  # noqa: E402


def test_args_may_be_the_public_struct_or_a_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("src.helpers.utils")
    struct = type("Struct", (), {"__module__": module.__name__})
    module.Struct = struct  # type: ignore[attr-defined]
    made = struct()
    vars(made).update(args_of(MED))
    path = tmp_path / "w.pt"
    with monkeypatch.context() as patch:
        for name in ("src", "src.helpers"):
            patch.setitem(sys.modules, name, types.ModuleType(name))
        patch.setitem(sys.modules, module.__name__, module)
        save(path, MED, args=made)
    assert hific_load.load(path).config == MED
    save(path, MED, args=argparse.Namespace(**args_of(MED)), epoch=np.float64(3))
    assert hific_load.load(path).config == MED


def test_half_precision_safetensors_are_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = {key: value.half() for key, value in model_of(HIGH).state_dict().items()}
    path = tmp_path / "w.safetensors"
    save_file(state, path, {"args": json.dumps(args_of(HIGH))})
    model = hific_load.load(path)
    assert model.config == HIGH
    assert all(
        value.dtype == torch.float32 and torch.equal(value, state[key].float())
        for key, value in model.state_dict().items()
    )
    save_file(state, path)
    with pytest.raises(CirbenchError, match="no args"):
        hific_load.load(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CirbenchError, match="cannot be read"):
        hific_load.load(path)


class Touch:
    """Unpickled without care, creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    path, sign = tmp_path / "w.pt", tmp_path / "executed"
    save(path, LOW, args=Touch(sign))
    with pytest.raises(CirbenchError, match=r"asks for \S*mkdir, which is not data"):
        hific_load.load(path)
    path.write_bytes(pickle.dumps(Touch(sign), protocol=2))
    with pytest.raises(CirbenchError, match=r"w\.pt is not a usable HiFiC checkpoint"):
        hific_load.load(path)
    assert not sign.exists()
    pickle.loads(path.read_bytes())
    assert sign.exists(), "the pickle is harmless, the test shows nothing"


def test_truncated_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    save(path, LOW)
    whole = path.read_bytes()
    for length in (0, 10, 5000, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(CirbenchError, match=r"w\.pt is not a usable HiFiC checkpoint"):
            hific_load.load(path)


def test_checkpoints_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    good, args = model_of(LOW).state_dict(), args_of(LOW)
    key = "Generator.resblock_1.conv2.weight"
    huge = torch.zeros(1).expand(10, 10, 30_000, 30_000)
    cases: list[tuple[str, dict[str, Any]]] = [
        (rf"{key} has shape \(10, 9, 3, 3\)", {"model_state_dict": good | {key: good[key][:, 1:]}}),
        (
            f"{key} has shape None",
            {"model_state_dict": {name: value for name, value in good.items() if name != key}},
        ),
        ("H_0 is missing", {"model_state_dict": {k: v for k, v in good.items() if "H_0" not in k}}),
        ("not finite", {"model_state_dict": good | {key: good[key] / 0}}),
        ("larger than the file", {"model_state_dict": good | {key: huge}}),
        ("not a dictionary", {"model_state_dict": None}),
        ("args say latent_channels 220", {"args": args | {"latent_channels": 220}}),
        ("draws noise", {"args": args | {"sample_noise": True}}),
        ("likelihood_type is 'cauchy'", {"args": args | {"likelihood_type": "cauchy"}}),
    ]
    for message, changes in cases:
        save(path, LOW, **changes)
        with pytest.raises(CirbenchError, match=message):
            hific_load.load(path)
