"""The small MoE-DiffIR that comes with cirbench."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from cirbench import codecs
from cirbench.cli import main
from cirbench.evaluation import checkpoints
from cirbench.models import restorer
from cirbench.models.moe_diffir.checkpoint import metadata
from cirbench.samples import sample_source
from cirbench.sources import read


@pytest.fixture
def shipped() -> checkpoints.Checkpoint:
    found = checkpoints.shipped()
    assert found is not None
    return found


def test_it_is_small_and_names_no_path(shipped: checkpoints.Checkpoint) -> None:
    assert (shipped.path / "model.safetensors").stat().st_size <= 25e6
    facts = metadata(shipped.path)
    assert "BSDS500" in facts["data"] and "trained_on" not in facts


def test_it_brings_a_jpeg_photo_closer_to_hq(shipped: checkpoints.Checkpoint) -> None:
    photo = next(sample_source().root.rglob("chelsea.png"))
    hq = np.ascontiguousarray(read(photo).rgb[40:168, 100:228])
    jpeg = codecs.get("jpeg")
    lq = jpeg.decode(jpeg.encode(hq, 5, jpeg.settings()).bitstream, hq.shape[:2], jpeg.settings())
    model = restorer.get(shipped.model, shipped.path, "cpu")
    made = restorer.restore_rgb(model, lq, 0)
    errors = [np.square(one.astype(float) - hq).mean() for one in (made, lq)]
    assert errors[0] < 0.9 * errors[1]


def test_restore_takes_it_where_there_is_no_run(tmp_path: Path, monkeypatch) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 24), "teal").save("a.png")
    done = CliRunner().invoke(main, ["restore", "a.png", "--out", "b.png", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert Image.open("b.png").size == (40, 24)


def test_the_mean_of_checkpoints_is_of_their_weights(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from cirbench.errors import CirbenchError
    from cirbench.models.moe_diffir import checkpoint, presets
    from cirbench.models.moe_diffir.config import from_dict
    from cirbench.models.moe_diffir.model import MoEDiffIR
    from cirbench.models.moe_diffir.shrink import shrink

    for name, experts in (("a", 7), ("b", 7), ("c", 5)):
        model = MoEDiffIR(from_dict({"experts": experts}, presets.micro()))
        checkpoint.save(model, tmp_path / name)
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    made = load_file(shrink([tmp_path / "a", tmp_path / "b"], tmp_path / "out", "data", 2))
    key = "unet.conv_in.weight"
    assert torch.equal(made[key], ((a[key] + b[key]) / 2).half())
    assert checkpoint.load(tmp_path / "out").config.sampler.steps == 2
    with pytest.raises(CirbenchError, match="another model"):
        shrink([tmp_path / "a", tmp_path / "c"], tmp_path / "no", "data", 2)
