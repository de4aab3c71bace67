"""What a metric is: a name, what it needs, and one function on prepared images.

Prepared images are what a protocol makes of them (:mod:`cirbench.metrics.protocol`): numpy arrays
(H, W, C), uint8 RGB or float64 luma, values in 0..255.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ..errors import InputError

Image = NDArray[Any]
"""One prepared image: (H, W, 3) uint8 RGB, (H, W, 1) float64 Y, or (N, 128, 128, 3) uint8 crops."""

Images = Iterable[Image]

Memo = MutableMapping[str, Any]
"""What was computed from the HQ image(s) alone, kept by the caller as long as they stay the same.

Also the way in for what is not pixels: ``memo["device"]`` (default ``"cpu"``) is where networks
run; ``memo["jobs"]`` (default 1) is how many threads an external program may use.
"""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: as on the command line and in ``scores.parquet``: ``"psnr"``.
        title: as printed: ``"PSNR"``.
        better: ``"higher"`` or ``"lower"``.
        unit: ``"dB"`` or ``""``.
        digits: decimals printed.
        per: ``"image"`` (a value per image) or ``"set"`` (one value per group of images: FID).
        reference: whether it needs the HQ image.
        protocols: names of the protocols it makes sense under; the first is the default.
        problem: ``""`` when it can run here, else one sentence that names the missing package or
            weight file and the command that gets it. Cheap; never downloads anything.
        score: ``score(restored, hq, memo)``. ``per="image"``: B restored versions (a sequence of
            images or one (B, H, W, C) array) of one HQ image, and that image (ignored, may be
            None, where ``reference`` is False), all prepared by one protocol; float64 (B,).
            ``per="set"``: two iterables of prepared images, the restored ones and the HQ ones of
            the group, read once and one image at a time (the HQ ones not at all when ``memo``
            holds what they give); a float. Raises ValueError when sizes differ, InputError when
            an image is too small or a group too few, UnavailableError when ``problem()`` is not
            empty.
        doc: source (paper, equation) and range.
    """

    name: str
    title: str
    better: str
    unit: str
    digits: int
    per: str
    reference: bool
    protocols: tuple[str, ...]
    problem: Callable[[], str]
    score: Callable[..., Any]
    doc: str


def no_problem() -> str:
    """``problem`` of a metric that needs nothing but the core."""
    return ""


def require_side(title: str, image: Image, least: int) -> None:
    """Raise InputError when the shorter side is below ``least``."""
    height, width = image.shape[:2]
    if min(height, width) < least:
        raise InputError(f"{title} needs at least {least}x{least} pixels, this is {width}x{height}")


def require_same_size(restored: Image, hq: Image) -> None:
    """Raise ValueError when two prepared images differ in shape or dtype."""
    if restored.shape != hq.shape or restored.dtype != hq.dtype:
        raise ValueError(
            f"restored is {restored.shape} {restored.dtype}, HQ is {hq.shape} {hq.dtype}"
        )
