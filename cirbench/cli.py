"""The ``cirbench`` command: parsing and printing only; the work is done by the Python API."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import click

from . import __version__, options
from .cli_recipes import recipes
from .cli_report import show, stats
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
@click.argument("source", nargs=-1)
@options.lists("--codec", help="Codecs, e.g. vvc,hevc; default: all of the recipe.")
@options.lists("--qp", help="QPs for the codecs that have one (hevc, vvc, avc).")
@options.lists(
    "--quality", "--qf", help="Quality factors for the codecs that have one (jpeg, webp)."
)
@options.lists("--level", help="Levels for any codec: 10, qf10, qp37, low.")
@click.option("--recipe", default="paper", show_default=True, help="A recipe's name or TOML file.")
@click.option(
    "--out",
    default="data/cir",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The data set's folder; building into it again adds rows.",
)
@options.jobs_option
@click.option(
    "--store",
    type=click.Choice(["png", "bitstream", "bitstream-only"]),
    help="What is kept beside the bitstreams: PNGs of every LQ (default), pixels of slow codecs "
    "only, or nothing.",
)
@click.option(
    "--hq",
    type=click.Choice(["ref", "link", "copy"]),
    help="Leave HQ images where they are (default), link or copy them into the data set.",
)
@click.option("--chroma", type=click.Choice(["420", "444"]), help="Chroma format (default 420).")
@click.option("--bit-depth", type=click.Choice(["8", "10"]), help="Default 8; VVC 10.")
@click.option("--encoder", help="Encoders instead of the defaults, e.g. vtm or vtm,hm,jm.")
@click.option("--preset", help="Encoder effort, e.g. medium, slow.")
@click.option(
    "--conversion",
    type=click.Choice(["rounding", "compressai-compat"]),
    help="RGB to Y'CbCr arithmetic of the video codecs.",
)
@click.option(
    "--weights",
    type=click.Choice(["auto", "published", "mini"]),
    default="auto",
    show_default=True,
    help="Weights of the learned codecs; auto: published ones if they are here, else mini ones.",
)
@options.weights_dir_option
@click.option(
    "--device", type=click.Choice(["cpu", "cuda", "mps"]), help="Where learned codecs run."
)
@click.option("--set", "set_name", help="Name of the set; default: the folder's name.")
@click.option("--split", type=click.Choice(["train", "test"]), help="Split of all images given.")
@click.option("--limit", type=click.IntRange(1), help="At most so many images of each source.")
@click.option(
    "--max-failures", type=click.IntRange(0), help="Stop after more failed rows than this."
)
@click.option("--rehash", is_flag=True, help="Do not trust sizes and times of HQ files: hash all.")
@click.option("--dry-run", is_flag=True, help="Print the plan, its size on disk and its time.")
@click.option("--yes", is_flag=True, help="Do not ask before a long build.")
def build(
    source: tuple[str, ...],
    codec: tuple[str, ...],
    qp: tuple[str, ...],
    quality: tuple[str, ...],
    level: tuple[str, ...],
    recipe: str,
    set_name: str | None,
    split: str | None,
    bit_depth: str | None,
    encoder: str | None,
    preset: str | None,
    chroma: str | None,
    conversion: str | None,
    device: str | None,
    dry_run: bool,
    yes: bool,
    **rest: Any,
) -> None:
    """Turn photos into LQ/HQ pairs with a parquet manifest.

    SOURCE is a folder, an image, or NAME=FOLDER; without one, the sample photos that come with
    scikit-image are used. Without --codec, every task of the recipe is built.
    """
    from . import estimate
    from . import recipe as recipes
    from .builder.build import Request, parse_sources, run
    from .report import contact_sheet, summary

    chosen = recipes.load(recipe)
    tasks = recipes.select(
        chosen,
        codec,
        {"qp": qp, "qf": quality, "": level},
        encoder=encoder,
        preset=preset,
        chroma=chroma,
        bit_depth=int(bit_depth) if bit_depth else None,
        conversion=conversion,
        device=device,
    )
    sources = parse_sources(source, set_name, split)
    if not source:
        click.echo("no SOURCE given: using the sample photos inside scikit-image (set 'sample')")
    request = Request(sources, tasks, chosen, **rest)
    begun = (request.out / "journal.sqlite").exists()  # going on needs no second yes
    if dry_run or not (yes or begun or not sys.stdin.isatty()):
        cost = estimate.of(request)
        if dry_run or cost.is_large:
            click.echo(estimate.describe(request, cost))
        if dry_run:
            return
        if cost.is_large:
            click.confirm("Build this?", abort=True)
    result = run(request, lambda line: click.echo(line, err=True))
    click.echo(summary.table(result.out, sets={s.set for s in sources}))
    sheet: Path | None = result.out / contact_sheet.FILE_NAME
    try:
        if result.made or not (result.out / contact_sheet.FILE_NAME).exists():
            sheet = contact_sheet.write(result.out)
    except CirbenchError as error:  # a picture that cannot be drawn spoils no build
        click.echo(f"no contact sheet: {error}", err=True)
        sheet = None
    click.echo(f"{result.made} rows made, {result.skipped} already there, {result.failed} failed")
    for file in ("manifest.parquet", *([sheet.name] if sheet else [])):
        click.echo(f"  {result.out / file}")
    for line in summary.failures(result.out, {source.set for source in sources}):
        click.echo(line, err=True)
    for name, why in result.unavailable.items():
        click.echo(f"cirbench: {name} was left out: {why}", err=True)
    if result.failed or (codec and result.unavailable):
        sys.exit(3 if result.made or result.skipped else 1)


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
def table(folder: Path, markdown: bool) -> None:
    """Print a data set's table: codec and level against images, bpp, PSNR and seconds."""
    from .report import summary

    click.echo(summary.table(folder, markdown=markdown))


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


main.add_command(show)
main.add_command(stats)
main.add_command(recipes)
main.add_command(weights)
