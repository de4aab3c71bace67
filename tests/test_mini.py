"""The mini weights: how they are trained, and that what ships is what was trained."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from cirbench.codecs import torch_compat  # noqa: E402

torch_compat.import_torchvision()
pytest.importorskip("compressai")
safetensors = pytest.importorskip("safetensors")

from cirbench import weights  # noqa: E402
from cirbench.codecs import cheng2020_model, hific_load  # noqa: E402
from cirbench.samples import sample_source  # noqa: E402
from cirbench.train import optimizer  # noqa: E402

MINI = Path(__file__).parent.parent / "codecs" / "mini"
PLANS = sorted(path.stem for path in MINI.glob("*.toml"))


@pytest.fixture(scope="module")
def train() -> Iterator[ModuleType]:
    import importlib

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(MINI)  # where Python looks when it runs the script
        yield importlib.import_module("train")


def _load(path: Path) -> object:
    if path.name.startswith("hific"):
        return hific_load.load(path)
    return cheng2020_model.load(path, "attn")


def test_smoke_run_of_every_plan_ends_with_weights_that_load(tmp_path) -> None:
    plans = [str(MINI / f"{name}.toml") for name in PLANS]
    command = [sys.executable, str(MINI / "train.py"), *plans, "--smoke", "--out", str(tmp_path)]
    ran = subprocess.run([*command, "--threads", "1"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    made = sorted(tmp_path.glob("*/*.safetensors"))
    assert len(made) == len(PLANS) == 9
    for path in made:
        _load(path)


@pytest.mark.parametrize("name", ["c_psnr-q3", "c_ssim-q1", "hific-high"])
def test_training_stopped_at_every_step_ends_with_the_same_weights(train, tmp_path, name) -> None:
    torch.set_num_threads(1)
    plan = replace(train.tiny(train.load_plan(MINI / f"{name}.toml")), steps=4, adversary_from=1)
    photos = train.Photos([sample_source()])
    straight = train.run(plan, photos, tmp_path / "straight", say=lambda line: None)
    for _ in range(4):  # a limit in the past: one step, a checkpoint, and out
        stopped = train.run(plan, photos, tmp_path / "stopped", until=0, say=lambda line: None)
    assert straight.read_bytes() == stopped.read_bytes()


def test_a_batch_depends_on_seed_and_step_only(train) -> None:
    plan = train.tiny(train.load_plan(MINI / "c_psnr-q3.toml"))
    one, other = (train.Photos([sample_source()]) for _ in range(2))
    other.batch(plan, 7)
    assert torch.equal(one.batch(plan, 3), other.batch(plan, 3))
    assert not torch.equal(one.batch(plan, 3), one.batch(plan, 4))
    assert not torch.equal(one.batch(plan, 3), one.batch(replace(plan, seed=1), 3))


def test_unknown_keys_and_missing_starts_are_one_sentence(train, tmp_path) -> None:
    from cirbench.errors import CirbenchError

    (tmp_path / "bad.toml").write_text('name = "x"\nbpp = 1\nsteppes = 3\n[distortion]\nmse = 1\n')
    with pytest.raises(CirbenchError, match="bad.toml"):
        train.load_plan(tmp_path / "bad.toml")
    plan = train.load_plan(MINI / "c_psnr-q2.toml")
    with pytest.raises(CirbenchError, match="train that first"):
        train.run(plan, None, tmp_path, start=tmp_path / "missing.pt")


def test_orthogonal_updates_have_singular_values_near_one() -> None:
    for shape in ((8, 30), (30, 8), (16, 16)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        values = torch.linalg.svdvals(optimizer.orthogonal(matrix))
        scale = max(1, shape[0] / shape[1]) ** 0.5
        assert (values / scale).min() > 0.3 and (values / scale).max() < 1.3


MINIS = [record for record in weights.records() if record.kind == "mini"]


def test_nine_mini_files_ship_in_half_precision_within_20_megabytes() -> None:
    assert len(MINIS) == 9
    files = [weights.mini_dir() / record.file for record in MINIS]
    assert sum(file.stat().st_size for file in files) <= 20_000_000
    for record, file in zip(MINIS, files, strict=True):
        assert weights.sha256(file) == record.sha256
        with safetensors.safe_open(file, "pt") as opened:
            kinds = {opened.get_slice(key).get_dtype() for key in opened.keys()}  # noqa: SIM118
        assert kinds <= {"F16", "I32"} and "F16" in kinds


@pytest.mark.parametrize("codec", ["c_psnr", "c_ssim", "hific"])
def test_rates_rise_with_the_level_and_so_does_quality(codec) -> None:
    from cirbench import codecs, sources
    from cirbench.metrics.distortion import psnr_pair
    from cirbench.recipe import load

    photo = sources.read(sample_source().root / "chelsea.png").rgb[40:232, 100:356]
    rates, qualities = [], []
    for task in (task for task in load("paper").tasks if task.codec == codec):
        settings = task.with_settings(weights="mini").settings
        coded = codecs.get(codec).encode(photo, task.level, settings)
        decoded = codecs.get(codec).decode(coded.bitstream, photo.shape[:2], settings)
        assert np.array_equal(decoded, coded.reconstruction)
        rates.append(8 * len(coded.bitstream) / photo[..., 0].size)
        qualities.append(psnr_pair(photo, decoded)[0])
    assert rates == sorted(set(rates)) and qualities == sorted(qualities)
    assert rates[0] > 0.03 and rates[-1] < 1.2 and qualities[-1] > 24
