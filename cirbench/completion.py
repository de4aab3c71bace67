"""What the shell offers for the values of options: codecs, tasks, recipes, sets, metrics, ...

The shell's side is click's own: ``eval "$(_CIRBENCH_COMPLETE=bash_source cirbench)"``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from .errors import CirbenchError

Names = Callable[[click.Context], Iterable[str]]
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def of(names: Names, files: bool = False) -> Complete:
    """A ``shell_complete`` that offers ``names``, also as parts of a comma-separated list.

    Args:
        names: the values, from what the command line says so far.
        files: the value may also be a file; the shell offers those when no name fits.
    """

    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        head, comma, part = incomplete.rpartition(",")
        given = head.split(",")
        try:
            fitting = [n for n in names(ctx) if n.startswith(part) and n not in given]
        except CirbenchError:  # a data set that is not there: nothing to offer, nothing to say
            fitting = []
        if files and not fitting:
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(head + comma + name) for name in fitting]

    return complete


def codecs(ctx: click.Context) -> Iterable[str]:
    """All codecs; of a data set, those it has."""
    from . import codecs as registry

    return _column(ctx, "codec") or registry.names()


def encoders(ctx: click.Context) -> Iterable[str]:
    """Encoders of all codecs."""
    from . import codecs as registry

    return [encoder for name in registry.names() for encoder in registry.get(name).encoders]


def tasks(ctx: click.Context) -> Iterable[str]:
    """Tasks of the data set, or of the paper when there is none."""
    from . import recipe

    return _column(ctx, "task") or [task.key for task in recipe.load("paper").tasks]


def recipes(ctx: click.Context) -> Iterable[str]:
    """Recipes that come with cirbench."""
    from . import recipe

    return recipe.names()


def sets(ctx: click.Context) -> Iterable[str]:
    """Sets of the data set, or the known ones when there is none."""
    from . import sets as known

    return _column(ctx, "set") or known.names()


def kinds(ctx: click.Context) -> Iterable[str]:
    """Kinds of tasks."""
    from . import recipe

    return recipe.KINDS


def metrics(ctx: click.Context) -> Iterable[str]:
    """All metrics, also those that miss something here."""
    from . import metrics as listed

    return "all", *listed.names()


def protocols(ctx: click.Context) -> Iterable[str]:
    """All protocols."""
    from .metrics import protocol

    return protocol.names()


def restorers(ctx: click.Context) -> Iterable[str]:
    """Restorers, also those of installed packages."""
    from .models import restorer

    return restorer.names()


def weights(ctx: click.Context) -> Iterable[str]:
    """Weight files that can be pulled."""
    from . import weights as files

    return [one.name for one in files.records() if one.url]


def images(ctx: click.Context) -> Iterable[str]:
    """Photos of the data set."""
    return _column(ctx, "hq_path")


def _column(ctx: click.Context, name: str) -> list[str]:
    """Values in a column of the data set that the command line names, in order; else nothing."""
    from .manifest import FILE_NAME, Manifest

    given: Any = ctx.params.get("data") or ctx.params.get("folder")
    if given is None or not (Path(given).expanduser() / FILE_NAME).is_file():
        return []
    values = Manifest.open(Path(given).expanduser()).table[name].unique().to_pylist()
    return [value for value in values if value is not None]
