"""``cirbench sets``: known image sets. ``cirbench duplicates``: images in two sets or splits."""

from __future__ import annotations

import sys
from collections import Counter

import click

from . import completion, options, recognise
from . import duplicates as same
from . import sets as known_sets
from .errors import CirbenchError
from .printable import clean


@click.group(invoke_without_command=True)
@click.pass_context
def sets(ctx: click.Context) -> None:
    """List the image sets that cirbench knows: where to get them, and on what terms."""
    if ctx.invoked_subcommand is None:
        for one in known_sets.load_all():
            proof = "pixels" if one.is_hashed else "names"
            click.echo(
                f"{one.name:<9} {len(one.images):>5} images, known by {proof:<6}  {one.title}"
            )
            click.echo(f"{'':<10}{one.source}")
            click.echo(f"{'':<10}{one.licence}")


@sets.command()
@click.argument("name", shell_complete=completion.of(completion.sets))
def show(name: str) -> None:
    """Print what is known of a set, and its images with their parts, sizes and pixel hashes."""
    one = known_sets.load(name)
    click.echo(f"{one.name}: {one.title}\nsource: {one.source}\nlicence: {one.licence}")
    click.echo(f"pixel hashes: {one.decoder or 'not known'}")
    for part in one.parts:
        of_part = [image for image in one.images if image.part == part]
        click.echo(f"{part}: {len(of_part)} images, split {of_part[0].split}")
    for image in one.images:
        sizes = "|".join(f"{width}x{height}" for width, height in image.sizes) or "any size"
        click.echo(f"  {image.part:<8} {image.name:<20} {sizes:<15} {image.sha256}".rstrip())


@sets.command()
@click.argument("source", nargs=-1, required=True)
@options.jobs_option
def check(source: tuple[str, ...], jobs: int | None) -> None:
    """Compare folders with the known sets: every missing, extra and altered image is named.

    SOURCE is NAME=FOLDER for a certain set (live1=~/LIVE1), or a folder, which is recognised by
    its pixels. Exit code 1 when anything is missing or altered.
    """
    from .builder import collect
    from .sources import parse_sources

    every, good = known_sets.load_all(), True
    for one in parse_sources(source, None, None):
        images = [read.image for read in collect.read_all(collect.folder(one), jobs)]
        known = known_sets.named(one.set, every) or recognise.identify(images, every)
        if known is None:
            raise CirbenchError(
                f"{one.root} ({len(images)} images) is none of the sets known by their pixels; "
                f"compare it with a certain one: cirbench sets check live1={one.root}"
            )
        report = recognise.compare(known, images)
        click.echo(clean(report.line(one.set, limit=None)))
        if report.altered and known.decoder:
            click.echo(f"  the set's pixels were decoded by: {known.decoder}")
        good = good and report.is_complete
    sys.exit(0 if good else 1)


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="DIR...")
@click.option(
    "--threshold",
    type=click.IntRange(-1, same.BITS),
    default=same.THRESHOLD,
    show_default=True,
    help=f"Most of the {same.BITS} bits that may differ in copies; -1: equal pixels only.",
)
@click.option("--within", is_flag=True, help="Also compare images inside one split of one set.")
@options.jobs_option
def duplicates(places: tuple[str, ...], threshold: int, within: bool, jobs: int | None) -> None:
    """Find images that are in two sets or two splits, also resized or coded again.

    DIR is a data set made by cirbench, a folder of photos, or NAME=FOLDER. Exit code 1 when an
    image is both in train and in test.
    """
    from .builder import collect

    items = collect.items(places, known_sets.load_all(), jobs)
    pairs = same.find(items, threshold, within)
    for pair in pairs:
        how = "equal pixels" if pair.is_exact else f"{pair.distance} of {same.BITS} bits differ"
        click.echo(clean(f"{pair.one.label} is {pair.other.label}: {how}"))
    count = ", ".join(f"{place}: {n}" for place, n in Counter(i.place for i in items).items())
    click.echo(f"{len(items)} images ({count}), {len(pairs)} pairs")
    sys.exit(1 if any(pair.crosses_splits for pair in pairs) else 0)
