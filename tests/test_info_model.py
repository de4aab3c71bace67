"""cirbench info --model: what a preset needs from outside, and how large its parts are."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from cirbench import cli, info_model, weights
from cirbench.errors import CirbenchError


def shown(*options: str) -> str:
    result = CliRunner().invoke(cli.main, ["info", *options])
    assert result.exit_code == 0, result.output
    return result.output


def test_paper_names_its_weights_and_counts_the_parts_of_stable_diffusion(no_weights: Path) -> None:
    if not (find_spec("diffusers") and find_spec("open_clip")):
        pytest.skip("needs diffusers and open_clip")
    text = shown("--model", "moe_diffir", "--preset", "paper")
    for name in ("Stable Diffusion 2.1-base", "OpenAI's CLIP RN50", "DA-CLIP ViT-B/32", "VGG-16"):
        assert f"{name}: missing" in text or f"{name} of the LPIPS loss: missing" in text
    assert "cirbench weights pull daclip-vit-b-32" in text and str(no_weights) in text
    counts = dict(re.findall(r"^(\w+) +([\d,]+)  ", text, re.M))
    assert counts["unet"] == "865,910,724"  # Stable Diffusion 2's, as its card prints it
    assert re.search(r"^unet .*frozen: stable_diffusion$", text, re.M)
    assert re.search(r"^v2t .*  1$", text, re.M)
    assert re.search(r"^compensator .*  2$", text, re.M)


def test_weights_that_are_here_are_shown_with_their_place(no_weights: Path) -> None:
    (no_weights / weights.record("clip-rn50").file).touch()
    (no_weights / "stable-diffusion-2-1-base" / "unet").mkdir(parents=True)
    (no_weights / "stable-diffusion-2-1-base" / "unet" / "config.json").touch()
    lines = []
    for line in info_model.lines(preset="paper"):
        if line.startswith("  searched"):
            break
        lines.append(line)
    text = "\n".join(lines)
    assert f"RN50: {no_weights / 'clip-rn50-openai.safetensors'}" in text
    assert f"2.1-base: {no_weights / 'stable-diffusion-2-1-base'}" in text
    assert "DA-CLIP ViT-B/32: missing" in text


def test_tiny_needs_nothing_and_its_sum_is_the_models() -> None:
    pytest.importorskip("torch")
    if not find_spec("diffusers"):
        pytest.skip("needs diffusers")
    from cirbench.models.moe_diffir import presets
    from cirbench.models.moe_diffir.model import MoEDiffIR

    text = shown("--preset", "tiny")
    assert "weights of others: none" in text
    model = MoEDiffIR(presets.tiny())
    total = sum(one.numel() for one in model.parameters())
    assert re.search(rf"^all +{total:,}$", text, re.M)
    assert re.search(r"^v2t .*  0, 1$", text, re.M)


def test_a_missing_package_is_named_after_the_weights(
    no_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    lines = list(info_model.lines(preset="paper"))
    assert any("DA-CLIP" in line for line in lines)
    assert lines[-1].startswith("parameters: counting needs torch; run: pip install")


@pytest.mark.parametrize(
    ("options", "words"),
    [({"model": "moe"}, "a model 'moe'"), ({"preset": "huge"}, "no preset 'huge'")],
)
def test_unknown_names_are_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(CirbenchError, match=words):
        list(info_model.lines(**options))
