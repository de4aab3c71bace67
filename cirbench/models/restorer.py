"""The contract of a restorer, and the registry that finds one by its name.

A package adds a restorer through the entry-point group ``cirbench.restorers``: its name, and a
callable ``factory(checkpoint, device)`` (see ``docs/evaluate.md``). A factory that takes a third
argument, ``options``, gets what ``--option key=value`` says.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import suggest
from ..codecs.base import RGB
from ..errors import CirbenchError, InputError

GROUP = "cirbench.restorers"
"""Entry-point group of third-party restorers."""

Batch = NDArray[np.float32]
"""(B, 3, H, W), RGB in [0, 1]."""


@dataclass(frozen=True)
class Info:
    """What a restorer says about itself.

    Attributes:
        name: its registered name.
        parameters: number of trained parameters.
        checkpoint: SHA-256 of the checkpoint, "" for a restorer without one.
        version: whatever else decides its pixels (code version, settings): results made under
            another version are not used again.
        trained_on: folder of the data set it was trained on, where the checkpoint records it;
            ``cirbench eval`` then warns when the test set does not fit (``cirbench check``).
        thread_safe: ``restore`` may run in several threads at once.
        remark: what whoever reads its scores should know.
    """

    name: str
    parameters: int = 0
    checkpoint: str = ""
    version: str = ""
    trained_on: str = ""
    thread_safe: bool = False
    remark: str = ""


class Restorer(Protocol):
    """What every restorer offers. It is blind: it never learns the task, codec or level."""

    def restore(self, lq: Batch, *, seeds: Sequence[int], prompt: str | None = None) -> Batch:
        """Restore images of any size (tiling is the restorer's own business).

        Args:
            lq: float32 (B, 3, H, W), RGB in [0, 1].
            seeds: one per image, the only source of randomness, so that results depend neither
                on batching nor on order. Between 0 and 2**63 - 1.
            prompt: text for models that take one, else ignored.

        Returns:
            float32 (B, 3, H, W) in [0, 1]: the same size.
        """
        ...

    def info(self) -> Info:
        """Name, size, checkpoint and version; cheap."""
        ...


Factory = Callable[..., Restorer]
"""``factory(checkpoint, device)``: checkpoint is None when none was given; device is None for the
best one, or "cpu", "cuda", ... Raises CirbenchError in one sentence when it cannot. One that has
settings takes a mapping of them as ``options``."""

_BUILT_IN = {
    "identity": "cirbench.models.identity:Identity",
    "deblock": "cirbench.models.deblock:Deblock",
    "moe_diffir": "cirbench.models.moe_diffir.restorer:create",
    "moe_diffir_compensator": "cirbench.models.moe_diffir.restorer:create_compensator",
}


@cache
def _registered() -> dict[str, EntryPoint]:
    found = {name: EntryPoint(name, value, GROUP) for name, value in _BUILT_IN.items()}
    for entry in entry_points(group=GROUP):
        if entry.name in found and found[entry.name].value != entry.value:
            raise CirbenchError(
                f"two restorers are called {entry.name!r}: {found[entry.name].value} and "
                f"{entry.value}; uninstall one of the packages"
            )
        found[entry.name] = entry
    return found


def names() -> list[str]:
    """Names of all restorers: cirbench's own, then those of installed packages."""
    return list(_registered())


def get(
    name: str,
    checkpoint: Path | None = None,
    device: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Restorer:
    """Make the restorer called ``name``.

    Args:
        name: of :func:`names`.
        checkpoint, device: see :data:`Factory`.
        options: settings of this restorer, e.g. ``{"sampler.steps": 20}``.

    Raises CirbenchError for an unknown name, a package that cannot be imported, a checkpoint that
    does not exist, options for a restorer that has none, and whatever the factory raises as one.
    """
    entry = _registered().get(name)
    if entry is None:
        raise CirbenchError(f"there is no restorer {name!r}; {suggest.hint(name, names())}")
    if checkpoint is not None and not checkpoint.exists():
        raise CirbenchError(f"the checkpoint {checkpoint} does not exist; give its path")
    module, _, attribute = entry.value.partition(":")
    try:
        factory: Factory = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        owner = f" of the package {entry.dist.name}" if entry.dist else ""
        raise CirbenchError(
            f"the restorer {name!r}{owner} cannot be loaded ({error}); install what it needs"
        ) from error
    if not options:
        return factory(checkpoint, device)
    if "options" not in inspect.signature(factory).parameters:
        raise CirbenchError(f"the restorer {name!r} has no options; leave --option out")
    return factory(checkpoint, device, options=options)


def seed_of(row_id: str) -> int:
    """The seed of one image: 63 bits of the SHA-256 of its row id (or of its name)."""
    return int.from_bytes(hashlib.sha256(row_id.encode()).digest()[:8], "big") >> 1


def restore_rgb(restorer: Restorer, rgb: RGB, seed: int, prompt: str | None = None) -> RGB:
    """Run a restorer on one 8-bit image and round its output to 8 bits.

    Args:
        restorer: any restorer.
        rgb: uint8 (H, W, 3).
        seed: see :func:`seed_of`.
        prompt: see :class:`Restorer`.

    Returns:
        uint8 (H, W, 3), of the same size.

    Raises InputError when the output has another size or holds NaN or infinite values.
    """
    batch = np.ascontiguousarray(np.moveaxis(rgb, -1, 0)[None], np.float32) / np.float32(255)
    made = np.asarray(restorer.restore(batch, seeds=[seed], prompt=prompt))
    if made.shape != batch.shape:
        raise InputError(
            f"the restorer returned an array of shape {made.shape} for one of {batch.shape}"
        )
    if not np.isfinite(made).all():
        bad = int(made.size - np.isfinite(made).sum())
        raise InputError(f"the restorer returned {bad} NaN or infinite values")
    return to_rgb8(np.moveaxis(made[0], 0, -1))


def to_rgb8(image: NDArray[Any]) -> RGB:
    """8-bit values of an image in [0, 1]: clipped, then rounded to nearest."""
    return np.ascontiguousarray(np.rint(np.clip(image, 0, 1) * image.dtype.type(255)), np.uint8)
