"""The codec registry: every ``codecs/*.toml``, loaded on first use.

>>> codec = get("jpeg")
>>> settings = codec.settings()
>>> coded = codec.encode(rgb, 10, settings)          # rgb: uint8 (H, W, 3)
>>> lq = codec.decode(coded.bitstream, rgb.shape[:2], settings)
"""

from __future__ import annotations

import importlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

from .. import suggest
from ..errors import CirbenchError, CodecError
from ..resources import data_dir
from .base import RGB, CodecModule, Encoded, Estimate, Probe, Settings

__all__ = ["RGB", "Codec", "Encoded", "Estimate", "Probe", "Settings", "get", "names", "rank"]


@dataclass(frozen=True)
class Codec:
    """One codec, as its TOML file describes it.

    Attributes:
        name: key in tasks, columns and folders (``"jpeg"``).
        title: how tables print it.
        parameter: what its level is called: ``"qf"``, ``"qp"``, ``"q"`` or ``""`` for named levels.
        levels: all legal operating points, ``range`` or a tuple of names.
        extension: file ending of its bitstreams.
        decode_cost: ``"fast"`` or ``"slow"``; slow ones keep pixels in ``--store bitstream``.
        parallelism: how its rows run side by side: ``"thread"`` (a subprocess, or GIL-free),
            ``"process"``, or ``"device"`` (takes ``--device``).
        encoders: encoder name -> its module and allowed settings; the first one, and the first
            value of each setting, is the default.
    """

    name: str
    title: str
    parameter: str
    levels: range | tuple[str, ...]
    extension: str
    decode_cost: str
    parallelism: str
    encoders: Mapping[str, Mapping[str, Any]] = field(repr=False)

    @property
    def default_encoder(self) -> str:
        """The encoder used when none is asked for."""
        return next(iter(self.encoders))

    def level(self, text: str | int) -> int | str:
        """The level written as ``text`` (``10``, ``"10"``, ``"qf10"``, ``"low"``).

        Raises CirbenchError when this codec has no such level.
        """
        value: int | str = text
        if isinstance(self.levels, range):
            digits = str(text).removeprefix(self.parameter).removeprefix("=")
            value = int(digits) if digits.isascii() and digits.isdigit() else str(text)
        if value not in self.levels:
            legal = (
                f"{self.parameter} {self.levels[0]} to {self.levels[-1]}"
                if isinstance(self.levels, range)
                else ", ".join(self.levels)
            )
            raise CirbenchError(f"{self.name} has no level {text!r}; it takes {legal}")
        return value

    def label(self, level: int | str) -> str:
        """The level's name in keys and folders: ``"qf10"``, ``"qp37"``, ``"low"``."""
        return f"{self.parameter}{level}"

    def settings(self, /, **wanted: Any) -> dict[str, Any]:
        """Complete, canonical settings: the encoder's defaults with ``wanted`` on top.

        Raises CirbenchError for an unknown setting or a value this encoder does not take.
        """
        encoder = wanted.get("encoder") or self.default_encoder
        if encoder not in self.encoders:
            known = ", ".join(self.encoders)
            raise CirbenchError(f"{self.name} has no encoder {encoder!r}; it has {known}")
        allowed = self.encoders[encoder]["settings"]
        settings = {"encoder": encoder} | {key: values[0] for key, values in allowed.items()}
        for key, value in wanted.items():
            if key == "encoder":
                continue
            if key not in allowed:
                has = ", ".join(allowed)
                raise CirbenchError(
                    f"{self.name} with {encoder} has no setting {key!r}; it has {has}"
                )
            if value not in allowed[key]:
                legal = ", ".join(map(repr, allowed[key]))
                raise CirbenchError(
                    f"{self.name} with {encoder} does not take {key} {value!r}; it takes {legal}"
                )
            settings[key] = value
        return settings

    def parse_settings(self, text: str) -> dict[str, Any]:
        """Settings from their JSON in a manifest.

        Raises CirbenchError unless they are complete settings of this codec.
        """
        settings = read_settings(text)
        try:
            whole = self.settings(**settings)
        except CirbenchError as error:
            shown = repr(text[:200])
            raise CirbenchError(f"{shown} are no settings of {self.name}: {error}") from error
        if settings != whole:
            raise CirbenchError(f"{text[:200]!r} are not all settings of {self.name}")
        return settings

    def module(self, settings: Settings) -> CodecModule:
        """The module that implements the encoder named in ``settings``."""
        name = self.encoders[settings["encoder"]]["module"]
        return cast(CodecModule, importlib.import_module(f"{__name__}.{name}"))

    def encode(self, rgb: RGB, level: int | str, settings: Settings) -> Encoded:
        """Code ``rgb`` (uint8, (H, W, 3)) at ``level``. Raises CodecError."""
        return self.module(settings).encode(rgb, level, settings)

    def decode(self, bitstream: bytes, size: tuple[int, int], settings: Settings) -> RGB:
        """Pixels (uint8, (H, W, 3)) of a bitstream of ``size`` (H, W).

        Raises CodecError for one that cannot be decoded or holds a picture of another size.
        """
        rgb = self.module(settings).decode(bitstream, size, settings)
        if rgb.shape != (*size, 3):
            shape = "x".join(map(str, rgb.shape))
            raise CodecError(f"{self.name} decoded to {shape} samples, not {size[0]}x{size[1]}x3")
        return rgb

    def check_level(self, bitstream: bytes, level: int | str, settings: Settings) -> None:
        """Raise CodecError when the bitstream was not coded at ``level``: proof, not trust."""
        found = self.module(settings).level_of(bitstream, settings)
        if found is not None and found != level:
            raise CodecError(
                f"asked {self.name} for {self.label(level)}, the bitstream says {self.label(found)}"
            )

    def probe(self, settings: Settings | None = None) -> Probe:
        """Is the encoder on this machine, and which version exactly?"""
        settings = settings or self.settings()
        return self.module(settings).probe(settings)

    def estimate(self, settings: Settings) -> Estimate:
        """What coding with these settings costs, an order of magnitude."""
        measured = self.encoders[settings["encoder"]]["estimate"]
        seconds = measured["seconds"]
        if isinstance(seconds, dict):
            seconds = seconds[settings["preset"]]
        return Estimate(float(seconds), float(measured["bpp"]))


def read_settings(text: str) -> dict[str, Any]:
    """Settings of any codec from their JSON in a manifest. Raises CirbenchError for other text."""
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise CirbenchError(f"{text[:200]!r} are no settings of a codec")
    return found


def _load(path: Any) -> Codec:
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    level = raw["level"]
    return Codec(
        name=path.stem,
        title=raw["title"],
        parameter=level.get("parameter", ""),
        levels=tuple(level["names"]) if "names" in level else range(level["min"], level["max"] + 1),
        extension=raw["extension"],
        decode_cost=raw["decode_cost"],
        parallelism=raw["parallelism"],
        encoders=raw["encoder"],
    )


@cache
def _registry() -> dict[str, Codec]:
    codecs = [_load(path) for path in sorted(data_dir("codecs").glob("*.toml"))]
    order = {name: rank for rank, name in enumerate(_PAPER_ORDER)}
    codecs.sort(key=lambda codec: (order.get(codec.name, len(order)), codec.name))
    return {codec.name: codec for codec in codecs}


_PAPER_ORDER = ("jpeg", "webp", "hevc", "vvc", "c_psnr", "c_ssim", "hific", "avc")


def names() -> list[str]:
    """Names of all codecs, in the paper's order, any others after them."""
    return list(_registry())


def rank(name: str, level: str) -> tuple[int, int]:
    """Sorts a codec's level (``"qf10"``) as :func:`names` has codecs and a codec has its levels.

    Raises CirbenchError for an unknown codec or level.
    """
    codec = get(name)
    return names().index(name), list(codec.levels).index(codec.level(level))


def get(name: str) -> Codec:
    """The codec called ``name``. Raises CirbenchError, suggesting the nearest name."""
    registry = _registry()
    if name not in registry:
        raise CirbenchError(f"there is no codec {name!r}; {suggest.hint(name, registry, 1)}")
    return registry[name]
