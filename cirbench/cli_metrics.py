"""``cirbench metrics``: which metrics and protocols there are, and what is missing."""

from __future__ import annotations

import click


@click.command()
def metrics() -> None:
    """List metrics and protocols, and what is missing on this machine.

    Names are those of ``cirbench eval --metrics`` and ``--protocol``. A metric that misses a
    package or a weight file says which, and the command that gets it; it is never replaced.
    """
    from . import metrics as listed
    from .metrics import protocol

    for name in listed.names():
        metric = listed.get(name)
        needs = "HQ" if metric.reference else "no HQ"
        if metric.per == "set":
            needs += ", a set"
        problem = metric.problem()
        state = "missing" if problem else "ready"
        click.echo(f"{name:<13} {metric.better:<7} {needs:<10} {state:<8} {metric.doc}")
        click.echo(f"{'':<13} under {', '.join(metric.protocols)}")
        if problem:
            click.echo(f"{'':<13} {problem}")
    click.echo("\nprotocols")
    for name in protocol.names():
        one = protocol.get(name)
        click.echo(f"{name:<13} version {one.version}: {one.doc}")
