"""The ``cirbench`` command: parsing and printing only; the work is done by the Python API."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import click

from . import __version__, completion, options
from .cli_build import build
from .cli_doctor import doctor
from .cli_eval import evaluate, restore
from .cli_export import export, import_
from .cli_metrics import metrics
from .cli_recipes import recipes
from .cli_report import show, stats
from .cli_sets import duplicates, sets
from .cli_train import train
from .cli_weights import weights
from .errors import CirbenchError
from .printable import clean


class Group(click.Group):
    """Prints a CirbenchError as one sentence and exits with 1; lists its commands by stage."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stages: dict[str, tuple[click.Command, ...]] = {}

    def stage(self, title: str, *commands: click.Command) -> None:
        """Add ``commands``, in this order, under a heading of ``--help``."""
        self.stages[title] = commands
        for command in commands:
            self.add_command(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands of each stage with the first sentence of their help."""
        width = max(map(len, self.commands))
        for title, commands in self.stages.items():
            lines = [(str(one.name).ljust(width), one.get_short_help_str(200)) for one in commands]
            with formatter.section(title):
                formatter.write_dl(lines)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; user errors end with a sentence, bugs with their traceback."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # end as with Ctrl-C
        try:
            return super().invoke(ctx)
        except CirbenchError as error:
            click.echo(f"cirbench: {clean(str(error))}", err=True)
            ctx.exit(1)
        except MemoryError:
            again = "run the same command again with fewer --jobs: finished work is kept"
            click.echo(f"cirbench: there was not enough memory; {again}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("cirbench: interrupted; run the same command again to go on", err=True)
            ctx.exit(130)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cirbench")
def main() -> None:
    """Build, train and evaluate universal compressed image restoration (CIR)."""


@click.command()
@options.folder_argument
@click.option("--decode", is_flag=True, help="Also decode every bitstream and compare pixels.")
@options.jobs_option
@options.backend_options
@options.hq_roots_option
def verify(folder: Path, decode: bool, **given: Any) -> None:
    """Check that every file of a data set is still what its manifest says."""
    from .verify import verify as check

    report = check(folder, decode=decode, **given)
    for problem in report.problems:
        click.echo(clean(problem))
    if report.problems:
        click.echo("delete damaged files and run the build that made them again: it heals the rest")
    click.echo(f"{report.rows} rows, {report.files} files checked, {len(report.problems)} problems")
    sys.exit(1 if report.problems else 0)


@click.command()
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


@click.command()
@options.folder_argument
@click.option("--markdown", is_flag=True, help="As a Markdown table.")
@options.lists(
    "--set",
    "sets",
    help="Only these sets, e.g. live1; default: all.",
    complete=completion.of(completion.sets),
)
def table(folder: Path, markdown: bool, sets: tuple[str, ...]) -> None:
    """Print a data set's table: codec and level against images, bpp, PSNR and seconds."""
    from .report import summary

    click.echo(summary.table(folder, sets, markdown=markdown))


@click.command()
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
        click.echo(clean(f"note: {note}"))
    for problem in report.problems:
        click.echo(clean(f"problem: {problem}"))
    click.echo(f"tasks that fit: {len(report.alike)}, problems: {len(report.problems)}")
    sys.exit(1 if report.problems else 0)


@click.command()
@click.option("--model", help="Show this model instead: its weights and parts, e.g. moe_diffir.")
@click.option("--preset", help="Of the model: tiny, paper, release or a TOML file.  [paper]")
def info(model: str | None, preset: str | None) -> None:
    """Show codecs, exact encoder and decoder builds, and what is missing."""
    from . import info_model
    from .info import lines

    if model or preset:
        shown = info_model.lines(model or info_model.MODELS[0], preset or "paper")
    else:
        shown = lines()
    for line in shown:
        click.echo(line)


main.stage(
    "Data",
    *(build, verify, materialize, table, stats, show),
    *(check, duplicates, recipes, sets),
)
main.stage("Train", train)
main.stage("Evaluate", evaluate, restore, metrics)
main.stage("Publish", export, import_)
main.stage("This machine", doctor, info, weights)
