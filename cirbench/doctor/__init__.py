"""``cirbench doctor``: try everything cirbench needs on this machine, and say what to do.

Where ``cirbench info`` says what is here, these checks run it: packages are compared with what is
supported, every encoder codes a picture, the disk is written to and read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from . import disk, encoders, machine, packages, weights
from .finding import NOTE as NOTE
from .finding import OK as OK
from .finding import PROBLEM as PROBLEM
from .finding import Finding as Finding


def examine(out: Path) -> Iterator[Finding]:
    """All findings, in the order to print them, each as soon as it is known.

    Args:
        out: where data sets are to be written; it need not exist, and nothing is left behind.
    """
    yield from packages.check()
    yield from machine.check()
    place = disk.existing(out)
    writable = True
    for finding in disk.check(place):
        writable = writable and finding.state != PROBLEM
        yield finding
    if writable:
        yield from encoders.check(place)
    yield from weights.check()
