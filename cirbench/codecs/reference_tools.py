"""Finding the reference software VTM, HM and JM: binaries, config files, version.

Each is looked for under its environment variable (``CIRBENCH_VTM``, ``CIRBENCH_HM``,
``CIRBENCH_JM``: a built source tree with ``bin/`` and ``cfg/``), else on PATH. What the encoders
are told is :mod:`.reference`'s business.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import UnavailableError


@dataclass(frozen=True)
class Software:
    """What is known about a reference software before it is found.

    Attributes:
        title: how people call it.
        codec: its codec's name in the registry.
        variable: environment variable naming its source tree.
        encoders, decoders: names its binaries go by; the plain name, as told to people, first.
        ask_version: arguments that make the encoder print ``banner``.
        banner: pattern of the version in what the encoder prints.
        multiple: what picture sides have to divide by; 1 when it pads well by itself.
    """

    title: str
    codec: str
    variable: str
    encoders: tuple[str, ...]
    decoders: tuple[str, ...]
    ask_version: tuple[str, ...]
    banner: str
    multiple: int


SOFTWARE = {
    "vtm": Software(
        title="VTM",
        codec="vvc",
        variable="CIRBENCH_VTM",
        encoders=("EncoderApp", "EncoderAppStatic"),
        decoders=("DecoderApp", "DecoderAppStatic"),
        ask_version=(),
        banner=r"VTM Encoder Version \[?([\w.+-]+)",
        multiple=1,
    ),
    "hm": Software(
        title="HM",
        codec="hevc",
        variable="CIRBENCH_HM",
        encoders=("TAppEncoder", "TAppEncoderStatic"),
        decoders=("TAppDecoder", "TAppDecoderStatic"),
        ask_version=(),
        banner=r"HM software: Encoder Version \[?([\w.+-]+)",
        multiple=1,
    ),
    "jm": Software(
        title="JM",
        codec="avc",
        variable="CIRBENCH_JM",
        encoders=("lencod", "lencod.exe", "lencodStatic", "lencod_static"),
        decoders=("ldecod", "ldecod.exe", "ldecodStatic", "ldecod_static"),
        ask_version=("-v",),
        banner=r"JM[- ](\d[\w.]*)",
        multiple=16,  # lencod pads, but not by edge repetition, which costs bits
    ),
}


@dataclass(frozen=True)
class Installed:
    """A reference software as found on this machine.

    Attributes:
        software: which one.
        encoder: its encoder's binary.
        decoder: its decoder's binary, where there is one.
        folders: where its config files may be, best first.
        version: title and version, e.g. ``"VTM 23.13"``.
    """

    software: Software
    encoder: Path
    decoder: Path | None
    folders: tuple[Path, ...]
    version: str

    def config(self, name: str) -> Path:
        """The config file called ``name``. Raises UnavailableError when it is missing."""
        found = _first((name,), (item for folder in self.folders for item in folder.rglob(name)))
        if found is None:
            title, variable = self.software.title, self.software.variable
            raise UnavailableError(
                f"{title} is at {self.encoder} but its {name} is not with it; "
                f"set {variable} to the source tree with bin/ and cfg/"
            )
        return found

    def own_decoder(self) -> Path:
        """The decoder's binary. Raises UnavailableError when it is missing."""
        if self.decoder is None:
            title, variable = self.software.title, self.software.variable
            raise UnavailableError(
                f"{title} is at {self.encoder} but {self.software.decoders[0]} is not with it; "
                f"build it too, or set {variable} to a source tree that has both"
            )
        return self.decoder


def locate(name: str) -> Installed:
    """The reference software ``"vtm"``, ``"hm"`` or ``"jm"``; looked for once per process.

    Raises UnavailableError, naming the environment variable, when it is not here.
    """
    software = SOFTWARE[name]
    return _locate(software, os.environ.get(software.variable), os.environ.get("PATH"))


@cache
def _locate(software: Software, tree: str | None, path: str | None) -> Installed:
    title, variable, plain = software.title, software.variable, software.encoders[0]
    if tree:
        root = Path(tree).expanduser().resolve()
        files = [item for item in (root / "bin").rglob("*") if os.access(item, os.X_OK)]
        encoder, decoder = _first(software.encoders, files), _first(software.decoders, files)
        if encoder is None:
            raise UnavailableError(
                f"{title} not found: no {plain} under {root / 'bin'}; "
                f"build it there, or set {variable} to a built source tree"
            )
        roots = [root]
    else:
        encoder, decoder = (_on_path(n, path) for n in (software.encoders, software.decoders))
        if encoder is None:
            raise UnavailableError(
                f"{title} not found: set {variable} to a built source tree (with bin/ and cfg/) "
                f"or put {plain} on PATH beside one"
            )
        # A link on PATH leads into a tree: <tree>/bin/umake/<compiler>/<machine>/release/<binary>
        roots = [parent.parent for parent in encoder.resolve().parents if parent.name == "bin"]
    version = f"{title} {_version(software, encoder)}"
    # JM up to 19.0 has its configs in bin/.
    folders = tuple(root / name for root in roots for name in ("cfg", "bin"))
    return Installed(software, encoder, decoder, folders, version)


def _first(names: Iterable[str], files: Iterable[Path]) -> Path | None:
    """The file with one of ``names`` that lies least deep; the order is the same everywhere."""
    found = [item for item in files if item.name in set(names) and item.is_file()]
    return min(found, key=lambda item: (len(item.parts), str(item)), default=None)


def _on_path(names: Iterable[str], path: str | None) -> Path | None:
    found = (shutil.which(name, path=path) for name in names)
    return next((Path(item).absolute() for item in found if item), None)


def _version(software: Software, encoder: Path) -> str:
    """The version in the binary's own banner."""
    command = [str(encoder), *software.ask_version]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(
            f"{encoder} does not run ({error}); build {software.title} again on this machine"
        ) from error
    found = re.search(software.banner, done.stdout.decode(errors="replace"))
    if found is None:
        raise UnavailableError(
            f"{encoder} does not say it is {software.title}; "
            f"set {software.variable} to a built {software.title} source tree"
        )
    return found[1]
