"""``cirbench export`` and ``cirbench import``: publish a data set, and read one back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from . import options

_UNITS = {"": 1, "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class Size(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes with a unit: 1GB, 500MB, 256MiB."""

    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """Bytes."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)", str(value).strip())
        if not found or found[2] not in _UNITS or not float(found[1]):
            self.fail(f"{value!r} is no size such as 1GB or 500MB", param, ctx)
        return int(float(found[1]) * _UNITS[found[2]])


@click.command()
@options.folder_argument
@click.option(
    "--format",
    "file_format",
    required=True,
    type=click.Choice(["folders", "webdataset", "hf", "croissant", "card"]),
    help="What to write; every format comes with a data card, card is nothing else.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="A new folder; an earlier export there is replaced.",
)
@click.option(
    "--content",
    type=click.Choice(["png", "bitstream"]),
    default="png",
    show_default=True,
    help="LQ images as pixels, or (webdataset) as coded bytes.",
)
@click.option(
    "--shard-size", type=Size(), default="1GB", show_default=True, help="Most bytes of a tar shard."
)
@click.option("--split", type=click.Choice(["train", "test"]), help="Only the images of one split.")
@click.option("--no-hq", is_flag=True, help="Leave the HQ images out.")
@click.option("--url", default="", help="The data set's page, for Croissant.")
@options.jobs_option
@options.hq_roots_option
def export(folder: Path, file_format: str, out: Path, no_hq: bool, **rest: Any) -> None:
    """Write a data set in a form that other tools read.

    folders: HQ/ and LQ/TASK/ with meta-info lists (BasicSR, Real-ESRGAN). webdataset: tar shards.
    hf: a folder for datasets.load_dataset. croissant: folders with Croissant metadata.
    """
    from .export.write import export as write

    done = write(folder, file_format, out, hq=not no_hq, **rest)
    for kind, (files, size) in done.sizes.items():
        click.echo(f"{kind:<9} {files:>7} files  {size / 1e6:>10.3f} MB")
    click.echo(f"{done.rows} LQ images as {file_format} in {done.out}")


@click.command("import")
@click.argument("src", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The data set's new folder."
)
@click.option("--decode", is_flag=True, help="Decode every bitstream and compare pixels.")
@options.jobs_option
def import_(src: Path, out: Path, decode: bool, jobs: int | None) -> None:
    """Make a data set again from an export of its bitstreams, and check every hash.

    SRC is a folder made by: cirbench export --format webdataset --content bitstream.
    """
    from .export.import_ import import_ as rebuild

    rows = rebuild(src, out, decode=decode, jobs=jobs)
    click.echo(f"{rows} rows in {out}, all as the manifest says")
