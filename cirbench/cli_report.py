"""``cirbench stats`` and ``cirbench show``: what a data set looks like, in numbers and pictures."""

from __future__ import annotations

from pathlib import Path

import click

from . import completion, options


@click.command()
@options.folder_argument
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the plots; default: stats in the data set's folder.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["png", "svg"]),
    default="png",
    show_default=True,
    help="Format of the plots.",
)
def stats(folder: Path, out: Path | None, file_format: str) -> None:
    """Print a data set's table and each codec's totals, and plot them.

    The plots are rate_distortion (bpp against PSNR), bpp (histograms) and time (encode seconds
    per megapixel). They need matplotlib.
    """
    from .report import stats as report

    click.echo(report.text(folder))
    for path in report.write(folder, out, file_format):
        click.echo(f"  {path}")


@click.command()
@options.folder_argument
@click.option(
    "--image",
    required=True,
    metavar="NAME",
    help="An hq_path, or its stem.",
    shell_complete=completion.of(completion.images),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The PNG; default: strips/SET/NAME.png in the data set's folder.",
)
@options.hq_roots_option
def show(folder: Path, image: str, out: Path | None, hq_roots: dict[str, Path]) -> None:
    """Write one picture of an image's HQ and all its LQs, whole and at the busiest place."""
    from .report import strip

    click.echo(strip.write(folder, image, out, hq_roots))
