"""``cirbench build``: its options, the question before a long build, and what it prints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from . import completion, options
from .errors import CirbenchError
from .printable import clean


@click.command()
@click.argument("source", nargs=-1)
@options.lists(
    "--codec",
    help="Codecs, e.g. vvc,hevc; default: all of the recipe.",
    complete=completion.of(completion.codecs),
)
@options.lists("--qp", help="QPs for the codecs that have one (hevc, vvc, avc).")
@options.lists(
    "--quality", "--qf", help="Quality factors for the codecs that have one (jpeg, webp)."
)
@options.lists("--level", help="Levels for any codec: 10, qf10, qp37, low.")
@click.option(
    "--recipe",
    default="paper",
    show_default=True,
    help="A recipe's name or TOML file.",
    shell_complete=completion.of(completion.recipes, files=True),
)
@click.option(
    "--out",
    default="data/cir",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The data set's folder; building into it again adds rows.",
)
@options.jobs_option
@options.backend_options
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
@click.option(
    "--tile", type=click.IntRange(1), help="Cut photos into square tiles of so many pixels a side."
)
@click.option(
    "--stride", type=click.IntRange(1), help="Pixels from one tile to the next (default: --tile)."
)
@click.option("--chroma", type=click.Choice(["420", "444"]), help="Chroma format (default 420).")
@click.option("--bit-depth", type=click.Choice(["8", "10"]), help="Default 8; VVC 10.")
@click.option(
    "--encoder",
    help="Encoders instead of the defaults, e.g. vtm or vtm,hm,jm.",
    shell_complete=completion.of(completion.encoders),
)
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
@click.option(
    "--splits",
    metavar="FILE|RATIO",
    help="Splits by image: a list (path,split or TOML), or a ratio such as 0.9 for training.",
)
@click.option(
    "--split-seed", type=int, default=0, show_default=True, help="Another seed, another assignment."
)
@click.option("--limit", type=click.IntRange(1), help="At most so many images of each source.")
@click.option(
    "--max-failures", type=click.IntRange(0), help="Stop after more failed rows than this."
)
@click.option("--rehash", is_flag=True, help="Do not trust sizes and times of HQ files: hash all.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print the plan, its size on disk and its time, measured on pieces of a few photos.",
)
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
    from . import estimate, manifest
    from . import recipe as recipes
    from .builder import journal, known
    from .builder.build import run
    from .builder.request import Request, parse_sources
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
    unnamed = known.unnamed(source, set_name, sources)
    request = Request(sources, tasks, chosen, unnamed=unnamed, **rest)
    begun = (request.out / journal.FILE_NAME).exists()  # going on needs no second yes
    if dry_run or not (yes or begun or not sys.stdin.isatty()):
        cost = estimate.of(request, measure=dry_run)
        if dry_run or cost.is_large:
            click.echo(estimate.describe(request, cost))
        if dry_run:
            return
        if cost.is_large:
            click.confirm("Build this?", abort=True)
    result = run(request, lambda line: click.echo(clean(line), err=True))
    click.echo(summary.table(result.out, sets=set(result.sets)))
    sheet: Path | None = result.out / contact_sheet.FILE_NAME
    try:
        if result.made or not (result.out / contact_sheet.FILE_NAME).exists():
            sheet = contact_sheet.write(result.out)
    except CirbenchError as error:  # a picture that cannot be drawn spoils no build
        click.echo(f"no contact sheet: {clean(str(error))}", err=True)
        sheet = None
    click.echo(f"{result.made} rows made, {result.skipped} already there, {result.failed} failed")
    for file in (manifest.FILE_NAME, *([sheet.name] if sheet else [])):
        click.echo(f"  {result.out / file}")
    for line in summary.failures(result.out, set(result.sets)):
        click.echo(line, err=True)
    for name, why in result.unavailable.items():
        click.echo(f"cirbench: {name} was left out: {why}", err=True)
    if result.failed or (codec and result.unavailable):
        sys.exit(3 if result.made or result.skipped else 1)
