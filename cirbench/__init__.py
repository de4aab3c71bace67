"""cirbench: the benchmark and codec toolchain for universal compressed image restoration (CIR).

>>> import cirbench
>>> cirbench.build("~/LIVE1", codec="vvc", qp=[37, 42, 47], out="data/live1")
>>> manifest = cirbench.Manifest.open("data/live1")
>>> codec = cirbench.codecs.get("jpeg")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import codecs as codecs
    from .builder.build import build as build
    from .data.dataset import CIRDataset as CIRDataset
    from .data.pairs import Pairs as Pairs
    from .data.sampler import TaskSampler as TaskSampler
    from .errors import CirbenchError as CirbenchError
    from .evaluation.evaluate import evaluate as evaluate
    from .manifest import Manifest as Manifest

try:
    from ._version import __version__ as __version__
except ImportError:  # a checkout that was never installed
    __version__ = "0.1.dev0"

_EXPORTS = {
    "build": ("cirbench.builder.build", "build"),
    "evaluate": ("cirbench.evaluation.evaluate", "evaluate"),
    "Manifest": ("cirbench.manifest", "Manifest"),
    "CirbenchError": ("cirbench.errors", "CirbenchError"),
    "CIRDataset": ("cirbench.data.dataset", "CIRDataset"),
    "Pairs": ("cirbench.data.pairs", "Pairs"),
    "TaskSampler": ("cirbench.data.sampler", "TaskSampler"),
    "codecs": ("cirbench.codecs", ""),
}

__all__ = [*_EXPORTS]


def __getattr__(name: str) -> Any:
    """Load the public names on first use: ``import cirbench`` alone costs nothing."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module, attribute = _EXPORTS[name]
    loaded = importlib.import_module(module)
    return getattr(loaded, attribute) if attribute else loaded
