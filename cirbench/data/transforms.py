"""What happens to a pair on its way to a batch: cut or scaled, then flipped or turned; pure numpy.

``resize`` is the paper's words ("256x256 inputs"); it also scales the artefacts away that are to be
learned. ``crop`` is what most training code does. Which one it was is recorded (``as_dict``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from ..codecs import RGB
from ..errors import CirbenchError

KINDS = ("crop", "resize", "none")
TURNS = 8
"""Number of ways to flip and turn a square."""

Box = tuple[int, int, int, int]
"""top, left, height, width."""


@dataclass(frozen=True)
class Transform:
    """What is done to both pictures of a pair.

    Attributes:
        kind: ``crop`` (a random square), ``resize`` (see :func:`resize`) or ``none``.
        size: side of the square in pixels; no meaning for ``none``.
        flips: also one of the 8 flips and quarter turns, drawn at random.
    """

    kind: str = "crop"
    size: int = 256
    flips: bool = True

    def __post_init__(self) -> None:
        """Refuse what is none of the above."""
        if self.kind not in KINDS:
            raise CirbenchError(
                f"transform cannot be {self.kind!r}; it is one of {', '.join(KINDS)}"
            )
        if self.size < 1:
            raise CirbenchError(f"size cannot be {self.size}; it is at least 1 pixel")

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint or a report."""
        facts = asdict(self)
        if self.kind == "resize":
            facts["filter"] = "bicubic, shorter side, centre crop"
        return facts

    def draw(self, rng: np.random.Generator, height: int, width: int) -> tuple[Box | None, int]:
        """(what to cut, None being everything; which turn) for a picture of this size."""
        box = crop_box(rng, height, width, self.size) if self.kind == "crop" else None
        return box, int(rng.integers(TURNS)) if self.flips else 0


def generator(seed: int, epoch: int, number: int) -> np.random.Generator:
    """Random numbers for one sample, decided by these three and nothing else."""
    return np.random.default_rng((seed, epoch, number))


def crop_box(rng: np.random.Generator, height: int, width: int, size: int) -> Box:
    """A square anywhere in the picture, all places equally likely."""
    top, left = rng.integers(0, (height - size + 1, width - size + 1))
    return int(top), int(left), size, size


def cut(rgb: RGB, box: Box) -> RGB:
    """A view of the pixels in ``box``."""
    top, left, height, width = box
    return rgb[top : top + height, left : left + width]


def resize(rgb: RGB, size: int) -> RGB:
    """``size`` x ``size`` pixels: the shorter side scaled to ``size``, the middle of the longer.

    Pillow's bicubic filter, which widens when it makes smaller (no aliasing). The proportions stay,
    as in the paper's released test code.
    """
    height, width = rgb.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    scaled = Image.fromarray(rgb).resize((size, size), Image.Resampling.BICUBIC, box=box)
    return np.asarray(scaled)


def turn(rgb: RGB, number: int) -> RGB:
    """Flip left-right (number & 1), flip upside down (& 2), swap rows and columns (& 4): a view."""
    if number & 1:
        rgb = rgb[:, ::-1]
    if number & 2:
        rgb = rgb[::-1]
    return rgb.swapaxes(0, 1) if number & 4 else rgb
