"""What ``cirbench info`` prints: which exact implementations run here, and what is missing."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import joblib
import numpy as np

from . import __version__, codecs


def lines() -> Iterator[str]:
    """The report, line by line."""
    yield f"cirbench {__version__}, Python {platform.python_version()}, numpy {np.__version__}"
    yield f"{platform.platform()}, {joblib.cpu_count()} cores"
    yield f"Pillow: {_pillow()}"
    yield ""
    for name in codecs.names():
        codec = codecs.get(name)
        for encoder in codec.encoders:
            settings = codec.settings(encoder=encoder)
            probe, remark = codec.probe(settings), ""
            if not probe.available and "weights" in settings:
                published = probe
                probe = codec.probe(settings | {"weights": "mini"})
                remark = f"mini weights only; {published.hint}"
            if probe.available:
                default = " (default)" if encoder == codec.default_encoder else ""
                yield f"{name:<7} {encoder}{default}: {probe.version}"
                if remark:
                    yield f"{'':<7}   {remark}"
                if probe.decoder != probe.version:
                    yield f"{'':<7}   decoded by {probe.decoder}"
            else:
                yield f"{name:<7} {encoder}: missing; {probe.hint}"


def _pillow() -> str:
    """Which of the two packages that share the ``PIL`` folder is the live one."""
    import PIL

    for package in ("pillow-simd", "pillow"):
        try:
            if version(package) == PIL.__version__:
                return f"{package} {PIL.__version__}"
        except PackageNotFoundError:
            continue
    return f"unknown build {PIL.__version__}"
