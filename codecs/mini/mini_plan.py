"""What a mini model is trained for, and on: the plan in a TOML file, and crops of photos."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cirbench import images
from cirbench.errors import CirbenchError
from cirbench.sources import Source, find


@dataclass(frozen=True)
class Plan:
    """What a TOML says.

    Attributes:
        name: of the weight file, without its ending.
        bpp: bits per pixel of the training crops that lambda steers towards.
        distortion: weight of each of :func:`mini_step.distortions`.
        channels: Cheng2020's N; absent for HiFiC.
        hific: HiFiC's sizes (:class:`cirbench.codecs.hific_model.Config`); absent for Cheng2020.
        start: TOML of the model whose finished weights this one starts from.
        steps, batch, crop: gradient steps, crops per step, side of a crop in pixels.
        zoom: photos are shrunk by a random factor from this one to 1 before they are cropped.
        rate, muon: peak learning rates of Adam and of Muon; they fall to a hundredth along
            a cosine after ``warmup`` steps.
        steer: how far lambda moves per step (in its logarithm) at twice the wanted rate.
        weight: lambda at the start.
        adversary_from: step at which the discriminator joins in.
        seed: of everything random.
    """

    name: str
    bpp: float
    distortion: dict[str, float]
    channels: int = 0
    hific: dict[str, Any] = field(default_factory=dict)
    start: str = ""
    steps: int = 10_000
    batch: int = 8
    crop: int = 128
    zoom: float = 0.6
    rate: float = 1e-3
    muon: float = 6e-3
    warmup: int = 200
    steer: float = 2e-3
    weight: float = 400.0
    adversary_from: int = 0
    seed: int = 0


def load_plan(path: Path) -> Plan:
    """The plan in a TOML file. Raises CirbenchError for a missing file or an unknown key."""
    try:
        return Plan(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
        raise CirbenchError(f"{path} is not a training plan: {error}") from error


def tiny(plan: Plan) -> Plan:
    """The same model with few channels, for two steps."""
    small = {"encoder": [8] * 5, "generator": [8] * 5, "latent": 8, "hyper": 8, "blocks": 1}
    return replace(
        plan,
        start="",
        steps=2,
        batch=2,
        adversary_from=1,
        channels=plan.channels and 8,
        hific=plan.hific and plan.hific | small,
    )


class Photos:
    """Random crops of all photos of some sources, decoded once and kept in memory."""

    def __init__(self, sources: Sequence[Source]) -> None:
        found = [one for source in sources for one in find(source)]
        if problems := [one.problem for one in found if one.problem]:
            raise CirbenchError(problems[0])
        self.files = [one.file for one in found]
        if not self.files:
            raise CirbenchError(f"there are no photos in {sources[0].root}")
        self.read = lru_cache(maxsize=None)(self._read)

    def _read(self, index: int) -> NDArray[np.uint8]:
        return images.read(self.files[index]).rgb

    def batch(self, plan: Plan, step: int) -> Tensor:
        """float32 (batch, 3, crop, crop) in [0, 1]; the same for the same seed and step."""
        random = np.random.default_rng([plan.seed, step])
        crops = [self._crop(plan, random) for _ in range(plan.batch)]
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous().float() / 255

    def _crop(self, plan: Plan, random: np.random.Generator) -> NDArray[np.uint8]:
        rgb = self.read(int(random.integers(len(self.files))))
        if min(rgb.shape[:2]) < plan.crop:
            raise CirbenchError(f"a photo is smaller than {plan.crop} pixels: leave it out")
        largest = min(plan.crop / plan.zoom, min(rgb.shape[:2]))
        side = round(random.uniform(plan.crop, largest))
        top, left = (int(random.integers(length - side + 1)) for length in rgb.shape[:2])
        crop = rgb[top : top + side, left : left + side]
        if side != plan.crop:
            small = Image.fromarray(crop).resize((plan.crop, plan.crop), Image.Resampling.LANCZOS)
            crop = np.asarray(small)
        crop = np.rot90(crop, int(random.integers(4)))
        return crop[:, ::-1] if random.integers(2) else crop
