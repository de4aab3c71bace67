"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from . import backends
from .completion import Complete
from .listed import listed


class CommaList(click.ParamType):  # type: ignore[type-arg]
    """Values separated by commas; the option may also be repeated."""

    name = "list"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        """Split at commas, dropping empty parts."""
        if isinstance(value, tuple):
            return value
        return tuple(listed(str(value)))


def _flat(ctx: click.Context, param: click.Parameter, value: Any) -> tuple[str, ...]:
    return tuple(part for group in value for part in group)


def lists(*names: str, help: str, complete: Complete | None = None) -> Callable[[Any], Any]:
    """An option that takes a comma-separated list and may be repeated."""
    return click.option(
        *names,
        type=CommaList(),
        multiple=True,
        callback=_flat,
        help=help,
        shell_complete=complete,
    )


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
on_mismatch_option = click.option(
    "--on-mismatch",
    type=click.Choice(["error", "warn"]),
    default="error",
    show_default=True,
    help="When LQ pixels decoded here are not the recorded ones: leave them out, or use them.",
)
folder_argument = click.argument("folder", default="data/cir", type=click.Path(path_type=Path))
jobs_option = click.option(
    "--jobs", type=click.IntRange(1), help="Rows at a time; default: one per core."
)


def _resources(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    return backends.parse_resources(value)


def backend_options(command: Callable[..., None]) -> Callable[..., None]:
    """``--backend``, ``--scheduler`` and ``--resources``; the command gets a Backend."""

    @functools.wraps(command)
    def wrapped(*args: Any, backend: str, scheduler: str, resources: Any, **given: Any) -> None:
        chosen = backends.Backend(backend, scheduler, resources)
        command(*args, backend=chosen, **given)

    for option in (
        click.option(
            "--resources",
            multiple=True,
            callback=_resources,
            metavar="CODEC=NAME:AMOUNT,...",
            help="What a row of a codec needs of a cluster's worker, e.g. hific=GPU:1.",
        ),
        click.option(
            "--scheduler",
            default="",
            metavar="ADDRESS",
            help="The cluster of --backend dask or ray, e.g. tcp://head:8786.",
        ),
        click.option(
            "--backend",
            type=click.Choice(backends.NAMES),
            default="threading",
            show_default=True,
            help="Where rows run: here, or on a Dask or Ray cluster; see docs/cluster.md.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


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
