"""The codec contract: one frozen record and four functions.

A codec is data (``codecs/<name>.toml``) plus, per encoder, a module with::

    encode(rgb, level, settings) -> Encoded
    decode(bitstream, size, settings) -> rgb
    level_of(bitstream, settings) -> level
    probe(settings) -> Probe

Pixels are ``uint8`` arrays of shape ``(H, W, 3)``, RGB; bitstreams are container-free ``bytes``.
Files are the store's business, never a codec's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

RGB = NDArray[np.uint8]
"""An image: ``uint8``, shape ``(H, W, 3)``, RGB, full range."""

Settings = Mapping[str, Any]
"""Everything besides the level that decides a bitstream; canonical, complete, JSON-able."""


@dataclass(frozen=True)
class Encoded:
    """What an encoder made of one image.

    Attributes:
        bitstream: the codec's own coded bytes, without a container.
        args: what was really passed to the encoder, for the manifest (no file or host names).
        reconstruction: the encoder's own idea of the decoded image, where it gives one.
        weights: (name, sha256) of the weights of a learned codec.
    """

    bitstream: bytes
    args: str
    reconstruction: RGB | None = None
    weights: tuple[str, str] | None = None


@dataclass(frozen=True)
class Probe:
    """Whether an encoder can run here, and exactly which one it is.

    Attributes:
        available: it can encode and decode on this machine.
        version: the encoder and its version, e.g. ``"libvvenc 1.15.0 (ffmpeg n9.0.2)"``.
        decoder: the decoder and its version, e.g. ``"FFmpeg 8.1.2 (PyAV 18.1.0)"``.
        hint: when not available, one sentence saying what to install or set.
    """

    available: bool
    version: str = ""
    decoder: str = ""
    hint: str = ""


class Estimate(NamedTuple):
    """What coding costs, by ``[encoder.*.estimate]`` in ``codecs/*.toml``: one machine's numbers.

    Attributes:
        seconds: to encode and decode a megapixel on one core.
        bpp: bits per pixel of the bitstream.
    """

    seconds: float
    bpp: float


class CodecModule(Protocol):
    """The functions a codec's module has to define."""

    def encode(self, rgb: RGB, level: int | str, settings: Settings) -> Encoded:
        """Code one image. Raises CodecError when the encoder fails."""

    def decode(self, bitstream: bytes, size: tuple[int, int], settings: Settings) -> RGB:
        """Pixels of a bitstream, cropped to ``size`` = (height, width)."""

    def level_of(self, bitstream: bytes, settings: Settings) -> int | str | None:
        """Level the bitstream says it was coded at; None when the format does not hold it.

        Raises CodecError when it cannot be a bitstream of this codec.
        """

    def probe(self, settings: Settings) -> Probe:
        """Availability and version; cheap enough to call once per build."""
