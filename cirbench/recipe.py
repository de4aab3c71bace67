"""Tasks and recipes: what to build, as data (``manifests/recipes/*.toml``)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from . import codecs, color, suggest
from .codecs import Settings
from .errors import CirbenchError
from .resources import data_dir

UNSEEN = ("cross-degree", "cross-type")
"""Kinds of tasks that are meant to be tested without having been trained on."""

KINDS = ("seen", *UNSEEN, "other")

_OF_PICTURE = ("chroma", "bit_depth", "matrix", "range", "conversion")


def canonical(settings: Mapping[str, Any]) -> str:
    """Settings as canonical JSON: sorted keys, no spaces. Equal settings, equal text."""
    return json.dumps(dict(settings), sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class Task:
    """One codec at one level with complete settings.

    Attributes:
        codec: codec name.
        level: its operating point (10, 37, ``"low"``).
        settings: complete canonical settings.
        kind: ``seen``, ``cross-degree``, ``cross-type`` or ``other``, for the recipe at hand.
        task_id: number among the recipe's seen tasks, else None.
    """

    codec: str
    level: int | str
    settings: Settings = field(hash=False)
    kind: str = "other"
    task_id: int | None = None

    @cached_property
    def key(self) -> str:
        """Stable name of codec and level: ``"jpeg-qf10"``."""
        return f"{self.codec}-{self.label}"

    @cached_property
    def label(self) -> str:
        """The level's name: ``"qf10"``."""
        return codecs.get(self.codec).label(self.level)

    @cached_property
    def settings_json(self) -> str:
        """The settings as canonical JSON."""
        return canonical(self.settings)

    @cached_property
    def variant(self) -> str:
        """What differs from the codec's default settings: ``""`` or ``"preset=fast"``."""
        default = codecs.get(self.codec).settings()
        own = codecs.get(self.codec).settings(encoder=self.settings["encoder"])
        base = default if self.settings["encoder"] == default["encoder"] else own
        differs = {key: value for key, value in self.settings.items() if base.get(key) != value}
        if base is own:
            differs["encoder"] = self.settings["encoder"]
        return ",".join(f"{key}={value}" for key, value in sorted(differs.items()))

    def with_settings(self, **wanted: Any) -> Task:
        """The same codec and level with other settings (None leaves a setting as it is).

        Another encoder has its own defaults, but codes the picture that was asked for: its chroma
        format, bit depth and conversion from RGB. Raises CirbenchError for what an encoder does
        not take.
        """
        codec, before = codecs.get(self.codec), str(self.settings["encoder"])
        wanted = {key: value for key, value in wanted.items() if value is not None}
        encoder = str(wanted.get("encoder", before))
        kept = dict(self.settings)
        if encoder != before and encoder in codec.encoders:
            defaults = codec.settings(encoder=before)
            kept = {k: v for k, v in kept.items() if k in _OF_PICTURE and v != defaults[k]}
        return replace(self, settings=codec.settings(**(kept | wanted)))

    def changes(self, other: Task) -> dict[str, tuple[Any, Any]]:
        """What differs between two tasks of one key: ``id``, ``kind`` and settings, as
        (this one's, the other's) values; None where one has no such setting or id.
        """
        mine = {"id": self.task_id, "kind": self.kind} | dict(self.settings)
        theirs = {"id": other.task_id, "kind": other.kind} | dict(other.settings)
        pairs = {key: (mine.get(key), theirs.get(key)) for key in mine | theirs}
        return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


@dataclass(frozen=True)
class LevelException:
    """Sets whose published images have other levels of one codec than the recipe's tasks.

    Information for people and programs; a build never applies it by itself.

    Attributes:
        sets: names of image sets.
        codec: codec name.
        levels: its levels there, in place of the recipe's.
    """

    sets: tuple[str, ...]
    codec: str
    levels: tuple[int | str, ...]


@dataclass(frozen=True)
class Recipe:
    """A named, versioned list of tasks.

    Attributes:
        name, version, description: as in its TOML.
        tasks: all tasks in the file's order; seen ones are numbered in that order.
        exceptions: sets whose published images have other levels.
        sha256: of the canonical JSON of name, version and tasks: comments and exceptions, which
            change nothing that is built, do not count.
    """

    name: str
    version: int
    description: str
    tasks: tuple[Task, ...]
    exceptions: tuple[LevelException, ...] = ()

    @cached_property
    def sha256(self) -> str:
        """Hash of what the recipe builds."""
        tasks = [[t.key, t.kind, t.task_id, dict(t.settings)] for t in self.tasks]
        return hashlib.sha256(
            canonical({"name": self.name, "version": self.version, "tasks": tasks}).encode()
        ).hexdigest()


def names() -> list[str]:
    """Names of the recipes that ship with cirbench."""
    return sorted(path.stem for path in (data_dir("manifests") / "recipes").glob("*.toml"))


def load(name: str) -> Recipe:
    """The shipped recipe called ``name``, or the one in the TOML file ``name``.

    Raises CirbenchError naming the file, the line and what is wrong there.
    """
    path = data_dir("manifests") / "recipes" / f"{name}.toml"
    if not path.is_file():
        path = Path(name)
        if path.suffix != ".toml" or not path.is_file():
            raise CirbenchError(
                f"there is no recipe {name!r}; {suggest.hint(name, names(), 1)} "
                "(one of your own is given as its TOML file)"
            )
    from .recipe_file import parse

    try:
        return parse(path.read_text(encoding="utf-8"))
    except (CirbenchError, OSError, UnicodeDecodeError) as error:
        raise CirbenchError(f"{path}: {error}") from error


def select(
    recipe: Recipe,
    names: Sequence[str] = (),
    levels: Mapping[str, Sequence[str]] | None = None,
    **settings: Any,
) -> list[Task]:
    """The tasks a command line asks for.

    Args:
        recipe: gives the levels of codecs without a list, and every task's kind and number.
        names: codec names; all of the recipe's when empty.
        levels: level lists by the option that gave them: ``"qp"`` and ``"qf"`` speak to the codecs
            whose level is called so, ``""`` (``--level``) to any.
        settings: encoder settings on top of the recipe's; None means "as it is". ``encoder`` may
            be a comma-separated list, each for the codec that has it.

    Raises CirbenchError for unknown names or levels, and for a list that no chosen codec takes.
    """
    levels = {option: values for option, values in (levels or {}).items() if values}
    chosen = [codecs.get(name) for name in dict.fromkeys(names)]
    if not names:
        chosen = [codecs.get(name) for name in dict.fromkeys(task.codec for task in recipe.tasks)]
        if levels:
            chosen = [c for c in chosen if "" in levels or c.parameter in levels]
    for option in levels:
        if option and not any(codec.parameter == option for codec in chosen):
            given = ", ".join(codec.name for codec in chosen) or "the recipe's codecs"
            raise CirbenchError(f"--{option} is a level none of {given} takes; use --level")
    given = ", ".join(codec.name for codec in chosen)
    for encoder in (settings.get("encoder") or "").split(","):
        if encoder and not any(encoder in codec.encoders for codec in chosen):
            near = suggest.hint(encoder, (name for codec in chosen for name in codec.encoders))
            raise CirbenchError(f"no codec of {given} has an encoder {encoder!r}; {near}")
    if settings.get("device") and not any(_on_device(codec) for codec in chosen):
        raise CirbenchError(f"--device is for the learned codecs; {given} run on the CPU")
    tasks: list[Task] = []
    for codec in chosen:
        listed = [*levels.get(codec.parameter or "-", ()), *levels.get("", ())]
        mine = [task for task in recipe.tasks if task.codec == codec.name]
        if listed:
            base = mine[0].settings if mine else codec.settings()
            known = {task.level: task for task in mine}
            wanted = dict.fromkeys(codec.level(text) for text in listed)
            found = [known.get(level) or Task(codec.name, level, base) for level in wanted]
        elif mine:
            found = mine
        else:
            raise CirbenchError(
                f"recipe {recipe.name} has no levels for {codec.name}; give them with --level"
            )
        tasks += [task.with_settings(**_for_codec(codec, settings)) for task in found]
    for task in tasks:
        if "conversion" in task.settings:
            color.check(task.settings)
    return tasks


def _on_device(codec: codecs.Codec) -> bool:
    return codec.parallelism == "device"


def _for_codec(codec: codecs.Codec, settings: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` with the encoder, if any of the listed ones belongs to ``codec``."""
    wanted = dict(settings)
    listed = str(wanted.pop("encoder", None) or "").split(",")
    mine = [name for name in listed if name in codec.encoders]
    if mine:
        wanted["encoder"] = mine[0]
    if not _on_device(codec):
        wanted.pop("device", None)
    if wanted.get("conversion") == "compressai-compat":  # 8-bit 4:4:4 by definition
        wanted = {"chroma": "444", "bit_depth": 8} | {k: v for k, v in wanted.items() if v}
    return wanted
