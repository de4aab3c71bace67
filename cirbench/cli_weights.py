"""``cirbench weights``: list, find and download weight files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import completion, options
from . import weights as files
from .errors import CirbenchError


@click.group()
def weights() -> None:
    """List, find and download weight files (nothing is ever downloaded unasked)."""


@weights.command("list")
@options.weights_dir_option
def weights_list() -> None:
    """Show every weight file, and whether it is on this machine."""
    for one in files.records():
        path = files.find(one.name)
        click.echo(f"{one.name:<28} {one.size:>8}  {one.licence:<22} {path or 'missing'}")


@weights.command("path")
@click.argument("name", required=False, shell_complete=completion.of(completion.weights))
@options.weights_dir_option
def weights_path(name: str | None) -> None:
    """Print where a weight file is, or the folders that are searched."""
    if name is None:
        for folder in files.search_dirs():
            click.echo(folder)
        return
    path = files.find(name)
    if path is None:
        raise CirbenchError(f"{name} is not here; get it with: cirbench weights pull {name}")
    click.echo(path)


@weights.command("pull")
@click.argument("name", nargs=-1, required=True, shell_complete=completion.of(completion.weights))
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Default: the user cache.")
def weights_pull(name: tuple[str, ...], folder: Path | None) -> None:
    """Download weight files; goes on where an earlier download was cut."""
    from tqdm import tqdm

    for one in name:
        with tqdm(desc=one, unit="B", unit_scale=True, disable=None) as bar:

            def progress(done: int, total: int | None, bar: Any = bar) -> None:
                bar.total = total
                bar.update(done - bar.n)

            click.echo(files.pull(one, folder, progress))
