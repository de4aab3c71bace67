"""The numbers MoE-DiffIR's paper prints, for looking at beside ours (``--with-paper``)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache

from ..resources import data_dir

LABEL = "as printed, protocol unknown"


@dataclass(frozen=True)
class Printed:
    """What one paper prints for one set.

    Attributes:
        model: the method's name and :data:`LABEL`.
        source: where it is printed.
        set: name of the set, lower case.
        values: (codec, metric) to the number as text, with the digits printed.
    """

    model: str
    source: str
    set: str
    values: dict[tuple[str, str], str]


@cache
def printed() -> tuple[Printed, ...]:
    """All entries of ``manifests/results/printed.toml``."""
    path = data_dir("manifests") / "results" / "printed.toml"
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    found = []
    for entry in raw["result"]:
        values = {
            (codec, metric): str(number)
            for codec, numbers in entry["codec"].items()
            for metric, number in zip(entry["metrics"], numbers, strict=True)
        }
        found.append(Printed(f"{entry['model']} ({LABEL})", entry["source"], entry["set"], values))
    return tuple(found)
