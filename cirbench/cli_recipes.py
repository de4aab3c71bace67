"""``cirbench recipes``: list, show and compare recipes."""

from __future__ import annotations

from collections.abc import Sequence

import click

from . import completion
from .recipe import Recipe, Task, load, names

_names = completion.of(completion.recipes, files=True)
_COLUMNS = (
    "encoder", "preset", "chroma", "bit_depth", "matrix", "range", "conversion", "weights",
)  # fmt: skip


@click.group(invoke_without_command=True)
@click.pass_context
def recipes(ctx: click.Context) -> None:
    """List the recipes that come with cirbench; show or compare them.

    A recipe is given by its name or as a TOML file of your own.
    """
    if ctx.invoked_subcommand is None:
        for name in names():
            recipe = load(name)
            click.echo(f"{name:<10} {len(recipe.tasks):>3} tasks  {recipe.description}")


@recipes.command()
@click.argument("name", shell_complete=_names)
def show(name: str) -> None:
    """Print a recipe's tasks with all their settings, its version and its hash."""
    recipe = load(name)
    click.echo(f"{_title(recipe)}: {recipe.description}")
    click.echo(f"sha256 {recipe.sha256}\n")
    rows = [_cells(task) for task in recipe.tasks]
    for line in _table([("id", "task", "kind", *_COLUMNS, "other settings"), *rows]):
        click.echo(line)
    for one in recipe.exceptions:
        keys = ", ".join(Task(one.codec, level, {}).key for level in one.levels)
        click.echo(f"\nexception (not applied by a build): {', '.join(one.sets)} with {keys}")


@recipes.command()
@click.argument("a", shell_complete=_names)
@click.argument("b", shell_complete=_names)
def diff(a: str, b: str) -> None:
    """Print the tasks that only one of two recipes has, and those that differ."""
    one, two = load(a), load(b)
    click.echo(f"{_title(one)} against {_title(two)}")
    left, right = ({task.key: task for task in recipe.tasks} for recipe in (one, two))
    for recipe, mine, others in ((one, left, right), (two, right, left)):
        lone = [task for key, task in mine.items() if key not in others]
        _section(
            f"only in {recipe.name}", [(task.key, task.kind, _id(task.task_id)) for task in lone]
        )
    changes = {key: left[key].changes(right[key]) for key in left if key in right}
    _section(
        "in both, but different",
        [(key, *(_change(*item) for item in found.items())) for key, found in changes.items()],
    )
    same = sum(not found for found in changes.values())
    click.echo(f"\nthe same in both: {same}")


def _title(recipe: Recipe) -> str:
    return f"{recipe.name} version {recipe.version}, {len(recipe.tasks)} tasks"


def _cells(task: Task) -> tuple[str, ...]:
    """One line of the table of ``show``."""
    known = (str(task.settings.get(column, "-")) for column in _COLUMNS)
    rest = (f"{key}={value}" for key, value in task.settings.items() if key not in _COLUMNS)
    number = "-" if task.task_id is None else str(task.task_id)
    return (number, task.key, task.kind, *known, " ".join(rest))


def _id(number: int | None) -> str:
    return "no id" if number is None else f"id {number}"


def _change(name: str, values: tuple[object, object]) -> str:
    was, now = ("none" if value is None else value for value in values)
    return f"{name} {was} -> {now}"


def _section(title: str, rows: Sequence[tuple[str, ...]]) -> None:
    """A titled table of the rows that say more than their key; nothing when there are none."""
    rows = [row for row in rows if len(row) > 1]
    if rows:
        click.echo(f"\n{title}:")
        width = max(map(len, rows))
        for line in _table([(*row, *[""] * (width - len(row))) for row in rows]):
            click.echo(f"  {line}")


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of equal length as left-aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
