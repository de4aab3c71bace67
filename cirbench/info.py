"""What ``cirbench info`` prints: which exact implementations run here, and what is missing."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import joblib
import numpy as np

from . import __version__, codecs
from .codecs import Probe, Settings


@dataclass(frozen=True)
class Encoder:
    """One encoder of a codec, as it is on this machine.

    Attributes:
        codec, name: ``"vvc"``, ``"vtm"``.
        is_default: a build without ``--encoder`` uses it.
        settings: those it was probed with; mini weights where the published ones are not here.
        probe: whether it is here, and which version.
        remark: what is missing although it runs.
    """

    codec: str
    name: str
    is_default: bool
    settings: Settings
    probe: Probe
    remark: str


def lines() -> Iterator[str]:
    """The report, line by line."""
    yield f"cirbench {__version__}, Python {platform.python_version()}, numpy {np.__version__}"
    yield f"{platform.platform()}, {joblib.cpu_count()} cores"
    yield f"Pillow: {pillow()}"
    yield ""
    for one in encoders():
        name, probe = one.codec, one.probe
        if probe.available:
            default = " (default)" if one.is_default else ""
            yield f"{name:<7} {one.name}{default}: {probe.version}"
            if one.remark:
                yield f"{'':<7}   {one.remark}"
            if probe.decoder != probe.version:
                yield f"{'':<7}   decoded by {probe.decoder}"
        else:
            yield f"{name:<7} {one.name}: missing; {probe.hint}"


def encoders() -> Iterator[Encoder]:
    """Every encoder of every codec, whether it is here or not."""
    for name in codecs.names():
        codec = codecs.get(name)
        for encoder in codec.encoders:
            settings = codec.settings(encoder=encoder)
            probe, remark = codec.probe(settings), ""
            if not probe.available and "weights" in settings:
                published = probe
                settings |= {"weights": "mini"}
                probe = codec.probe(settings)
                remark = f"mini weights only; {published.hint}"
            is_default = encoder == codec.default_encoder
            yield Encoder(name, encoder, is_default, settings, probe, remark)


def pillow() -> str:
    """Which of the two packages that share the ``PIL`` folder is the live one."""
    import PIL

    for package in ("pillow-simd", "pillow"):
        try:
            if version(package) == PIL.__version__:
                return f"{package} {PIL.__version__}"
        except PackageNotFoundError:
            continue
    return f"unknown build {PIL.__version__}"
