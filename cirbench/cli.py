"""The ``cirbench`` command: parsing and printing only; the work is done by the Python API."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import click

from . import __version__, options
from .cli_build import build
from .cli_eval import evaluate, restore
from .cli_export import export, import_
from .cli_metrics import metrics
from .cli_recipes import recipes
from .cli_report import show, stats
from .cli_sets import duplicates, sets
from .cli_weights import weights
from .errors import CirbenchError


class Group(click.Group):
    """Prints a CirbenchError as one sentence and exits with 1; suggests mistyped commands."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; user errors end with a sentence, bugs with their traceback."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # end as with Ctrl-C
        try:
            return super().invoke(ctx)
        except CirbenchError as error:
            click.echo(f"cirbench: {error}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("cirbench: interrupted; run the same command again to go on", err=True)
            ctx.exit(130)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cirbench")
def main() -> None:
    """Build, train and evaluate universal compressed image restoration (CIR)."""


@main.command()
@options.folder_argument
@click.option("--decode", is_flag=True, help="Also decode every bitstream and compare pixels.")
@options.jobs_option
@options.hq_roots_option
def verify(folder: Path, decode: bool, jobs: int | None, hq_roots: dict[str, Path]) -> None:
    """Check that every file of a data set is still what its manifest says."""
    from .verify import verify as check

    report = check(folder, decode=decode, jobs=jobs, hq_roots=hq_roots)
    for problem in report.problems:
        click.echo(problem)
    if report.problems:
        click.echo("delete damaged files and run the build that made them again: it heals the rest")
    click.echo(f"{report.rows} rows, {report.files} files checked, {len(report.problems)} problems")
    sys.exit(1 if report.problems else 0)


@main.command()
@options.folder_argument
@click.option(
    "--store",
    required=True,
    type=click.Choice(["png", "bitstream", "bitstream-only"]),
    help="What to keep beside the bitstreams.",
)
@options.jobs_option
def materialize(folder: Path, store: str, jobs: int | None) -> None:
    """Make LQ PNGs from the bitstreams of a data set, or remove them again."""
    from .materialize import materialize as change

    made, removed = change(folder, store, jobs=jobs)
    click.echo(f"{made} PNGs written, {removed} removed; {folder} is now --store {store}")


@main.command()
@options.folder_argument
@click.option("--markdown", is_flag=True, help="As a Markdown table.")
@options.lists("--set", "sets", help="Only these sets, e.g. live1; default: all.")
def table(folder: Path, markdown: bool, sets: tuple[str, ...]) -> None:
    """Print a data set's table: codec and level against images, bpp, PSNR and seconds."""
    from .report import summary

    click.echo(summary.table(folder, sets, markdown=markdown))


@main.command()
@click.argument("train", type=click.Path(path_type=Path))
@click.argument("test", type=click.Path(path_type=Path))
def check(train: Path, test: Path) -> None:
    """Does what TEST measures fit what TRAIN trains on?

    TRAIN and TEST are data sets (one that holds both splits may be given twice). Tells which tasks
    were not trained on, which were made differently, and which images are in both. Exit code 1
    when something is wrong.
    """
    from .check import check as compare
    from .manifest import Manifest

    report = compare(Manifest.open(train), Manifest.open(test))
    for name, folder, size in (("train", train, report.train), ("test", test, report.test)):
        click.echo(f"{name}: {folder} (images: {size.images}, tasks: {size.tasks})")
    for note in report.notes:
        click.echo(f"note: {note}")
    for problem in report.problems:
        click.echo(f"problem: {problem}")
    click.echo(f"tasks that fit: {len(report.alike)}, problems: {len(report.problems)}")
    sys.exit(1 if report.problems else 0)


@main.command()
def info() -> None:
    """Show codecs, exact encoder and decoder builds, and what is missing."""
    from .info import lines

    for line in lines():
        click.echo(line)


main.add_command(build)
main.add_command(evaluate)
main.add_command(restore)
main.add_command(export)
main.add_command(import_)
main.add_command(show)
main.add_command(stats)
main.add_command(recipes)
main.add_command(weights)
main.add_command(sets)
main.add_command(duplicates)
main.add_command(metrics)
