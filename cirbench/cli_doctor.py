"""``cirbench doctor``: print what was found, and what to do."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import click


@click.command()
@click.option(
    "--out",
    default="data/cir",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where data sets are to be written: its disk is tried.",
)
def doctor(out: Path) -> None:
    """Try everything cirbench needs on this machine, and say what to do.

    Packages, cores, memory, GPU, disk, every encoder, weights. A problem is something needed that
    is broken (exit code 1), a note something optional that is missing. Nothing is left behind.
    """
    from . import doctor as checks

    count: Counter[str] = Counter()
    for finding in checks.examine(out):
        count[finding.state] += 1
        click.echo(f"{finding.state:<8} {finding.what:<15} {finding.text}")
        if finding.todo:
            click.echo(f"{'':<24} -> {finding.todo}")
    click.echo(f"problems: {count[checks.PROBLEM]}, notes: {count[checks.NOTE]}")
    sys.exit(1 if count[checks.PROBLEM] else 0)
