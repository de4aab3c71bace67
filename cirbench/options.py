"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


class CommaList(click.ParamType):  # type: ignore[type-arg]
    """Values separated by commas; the option may also be repeated."""

    name = "list"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        """Split at commas, dropping empty parts."""
        if isinstance(value, tuple):
            return value
        return tuple(part.strip() for part in str(value).split(",") if part.strip())


def _flat(ctx: click.Context, param: click.Parameter, value: Any) -> tuple[str, ...]:
    return tuple(part for group in value for part in group)


def lists(*names: str, help: str) -> Callable[[Any], Any]:
    """An option that takes a comma-separated list and may be repeated."""
    return click.option(*names, type=CommaList(), multiple=True, callback=_flat, help=help)


def _pairs(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, Path]:
    pairs = {}
    for text in value:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise click.BadParameter(f"{text!r} is not NAME=FOLDER")
        pairs[name] = Path(path)
    return pairs


hq_roots_option = click.option(
    "--hq-root",
    "hq_roots",
    multiple=True,
    callback=_pairs,
    metavar="NAME=FOLDER",
    help="Where the HQ images of a set are on this machine.",
)
folder_argument = click.argument("folder", default="data/cir", type=click.Path(path_type=Path))
jobs_option = click.option(
    "--jobs", type=click.IntRange(1), help="Rows at a time; default: one per core."
)


def _use_weights_dir(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value:  # the environment reaches the workers too
        os.environ["CIRBENCH_WEIGHTS"] = value


weights_dir_option = click.option(
    "--weights-dir",
    expose_value=False,
    callback=_use_weights_dir,
    type=click.Path(exists=True, file_okay=False),
    help="Folder with weight files; also CIRBENCH_WEIGHTS.",
)
