"""The losses can be driven down: each stage learns eight fixed pairs by heart."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from PIL import Image  # noqa: E402

from cirbench import codecs  # noqa: E402
from cirbench.models.moe_diffir import presets, training  # noqa: E402
from cirbench.models.moe_diffir.config import from_dict  # noqa: E402
from cirbench.models.moe_diffir.model import MoEDiffIR  # noqa: E402
from cirbench.models.moe_diffir.parts import set_stage, train_only  # noqa: E402
from cirbench.train import optimizer  # noqa: E402
from cirbench.train.noise import Noise  # noqa: E402
from cirbench.train.settings import StageSettings  # noqa: E402

COUNT = 8


@pytest.fixture(scope="module")
def pairs() -> dict[str, torch.Tensor]:
    """Smooth random pictures and what JPEG at QF 5 leaves of them."""
    rng = np.random.default_rng(0)
    jpeg, found = codecs.get("jpeg"), {"hq": [], "lq": []}
    for _ in range(COUNT):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        hq = np.asarray(coarse.resize((64, 64), Image.Resampling.BICUBIC))
        settings = jpeg.settings()
        lq = jpeg.decode(jpeg.encode(hq, 5, settings).bitstream, hq.shape[:2], settings)
        for name, image in (("hq", hq), ("lq", lq)):
            found[name].append(torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255)
    return {name: torch.stack(images) for name, images in found.items()}


def learn(model, minimised, batch, parameters, steps: int, **changes) -> list[float]:
    """Losses over ``steps`` steps, the noise and the times being the same in all."""
    settings = StageSettings(steps=steps, optimizer="muon", lr=5e-3, decay=0.5, **changes)
    optimizers = optimizer.build(parameters, settings)
    model.train()
    values = []
    for step in range(steps):
        optimizer.set_rate(optimizers, optimizer.rate(step, settings))
        found = minimised(model, batch, Noise(("fixed",), range(COUNT), COUNT), settings)["loss"]
        found.backward()
        for one in optimizers:
            one.step()
            one.zero_grad(set_to_none=True)
        values.append(float(found.detach()))
    return values


def test_stage_1_learns_eight_pairs_by_heart(pairs: dict[str, torch.Tensor]) -> None:
    torch.manual_seed(0)
    model = MoEDiffIR(from_dict({"top_k": 7}, presets.micro()))
    parameters = set_stage(model, 1)
    values = learn(model, training.prompt_loss, pairs, parameters, 150)
    assert values[-1] < values[0] / 5


def test_stage_2_comes_closer_to_hq_than_the_lq_is(pairs: dict[str, torch.Tensor]) -> None:
    torch.manual_seed(0)
    model = MoEDiffIR(presets.micro())
    terms = {"pixels": 1.0}
    learn(model, training.vae_loss, pairs, train_only(model, ("vae",)), 100, loss=terms)
    with torch.no_grad():
        batch = {**pairs, "latents": model.encode(pairs["lq"])}
    parameters = set_stage(model, 2)
    learn(model, training.compensator_loss, batch, parameters, 100, loss=terms)
    with torch.inference_mode():
        made = model.eval().compensate(batch["latents"], pairs["lq"])
    assert psnr(made, pairs["hq"]) > psnr(pairs["lq"], pairs["hq"])


def test_milder_samples_lack_less_of_hq(pairs: dict[str, torch.Tensor]) -> None:
    torch.manual_seed(0)
    model = MoEDiffIR(presets.micro()).eval()
    with torch.no_grad():
        hq, lq = (model.encode(pairs[name]) for name in ("hq", "lq"))
        whole = Noise(("fixed",), range(COUNT), COUNT)
        settings = StageSettings(loss={"pixels": 1.0}, milder=1.0)
        found = training.compensator_loss(model, {**pairs, "latents": lq}, whole, settings)
        twin = Noise(("fixed",), range(COUNT), COUNT)
        assert twin.chosen(1.0).all()
        back = twin.uniform()[:, None, None, None]
        image = pairs["lq"] + back * (pairs["hq"] - pairs["lq"])
        made = model.compensate(lq + back * (hq - lq), image)
        expected = (made - pairs["hq"]).abs().mean()
    assert float(found["loss"]) == pytest.approx(float(expected), rel=1e-5)


def psnr(image: torch.Tensor, hq: torch.Tensor) -> float:
    return float(-10 * (image.clamp(0, 1) - hq).square().mean((1, 2, 3)).log10().mean())
