"""``cirbench eval`` and ``cirbench restore``: options, and what they print."""

from __future__ import annotations

import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from . import completion, filling, options
from .errors import CirbenchError
from .printable import clean

_DEVICES = click.Choice(["cpu", "cuda", "mps"])
_path = click.Path(path_type=Path)
_MOST_LINES = 20
_COLUMNS = ("set", "codec", "task", "kind")


def _model_options(command: Any) -> Any:
    """The options that say which restorer runs: ``model``, ``checkpoint``, ``options``."""
    for one in (
        click.option(
            "--option",
            "options",
            multiple=True,
            metavar="KEY=VALUE",
            help="A setting of the model, e.g. sampler.steps=20.",
        ),
        click.option(
            "--checkpoint",
            type=_path,
            help="The model's checkpoint; default: the newest under runs/, else the one that comes "
            "along.",
        ),
        click.option(
            "--model",
            default="",
            help="A restorer to run: identity, deblock, moe_diffir, moe_diffir_compensator, or a "
            "package's.",
            shell_complete=completion.of(completion.restorers),
        ),
    ):
        command = one(command)
    return command


@click.command("eval")
@click.argument("files", nargs=-1, type=_path)
@click.option("--data", default="data/cir", show_default=True, type=_path, help="The data set.")
@click.option("--restored", type=_path, help="Folder of a method's outputs to score.")
@click.option(
    "--pattern",
    default="",
    metavar="TEXT",
    help="How the outputs are called, e.g. '{set}/{task}/{name}.png'; default: the names of the "
    "LQ or HQ images in one of the usual layouts.",
)
@click.option("--csv", type=_path, help="Which output is which: columns row_id and path.")
@click.option("--name", default="", help="What to call the outputs or the model in tables.")
@_model_options
@options.lists(
    "--metrics",
    help="e.g. psnr,ssim,lpips; default: those that need no weights.",
    complete=completion.of(completion.metrics),
)
@options.lists(
    "--protocol",
    help="native-rgb, native-y, paper-256, patch-fid; default: each metric's own.",
    complete=completion.of(completion.protocols),
)
@click.option(
    "--by",
    type=click.Choice(["codec", "level", "task", "kind", "set"]),
    default="codec",
    show_default=True,
    help="What the rows of the table are.",
)
@click.option(
    "--compare", is_flag=True, help="One table of several evaluations: --compare eval/A eval/B."
)
@click.option("--against", default="", help="The model that others are compared with [LQ].")
@click.option("--with-paper", is_flag=True, help="Show the numbers printed in papers, too.")
@click.option("--split", type=click.Choice(["train", "test", "all"]), help="Default: test.")
@options.lists("--set", help="Only images of these sets.", complete=completion.of(completion.sets))
@options.lists(
    "--codec", help="Only rows of these codecs.", complete=completion.of(completion.codecs)
)
@options.lists(
    "--task", help="Only these tasks, e.g. jpeg-qf10.", complete=completion.of(completion.tasks)
)
@options.lists(
    "--kind",
    help="Only seen, cross-degree, cross-type or other tasks.",
    complete=completion.of(completion.kinds),
)
@click.option("--limit", type=click.IntRange(1), help="At most so many images of each set.")
@click.option("--device", type=_DEVICES, help="Where networks run; default: the best one.")
@options.jobs_option
@options.backend_options
@options.hq_roots_option
@options.on_mismatch_option
@options.weights_dir_option
@click.option(
    "--out", type=_path, help="Folder for the results; default: eval/ and the data set's name."
)
@click.option("--report/--no-report", default=True, help="Write report.html (default) or not.")
def evaluate(files: tuple[Path, ...], compare: bool, by: str, **given: Any) -> None:
    """Score a model, or anyone's outputs, against the unrestored LQ.

    Without options: the test split of data/cir, the newest checkpoint below runs/, or else the
    small model that comes with cirbench. Running the same command again goes on where it stopped;
    metrics added later restore nothing again. Exit code 3: some outputs were missing or could not
    be scored.
    """
    if compare:
        _compare(files, by, given)
        return
    if files:
        raise click.UsageError(
            "files are compared with --compare; a folder of outputs is given "
            "with --restored, a data set with --data"
        )
    from .evaluation import evaluate as evaluation
    from .evaluation import render
    from .evaluation.request import Outputs, Request
    from .manifest import MismatchWarning

    warnings.simplefilter("ignore", MismatchWarning)  # the table has a note
    data, restored = given["data"], given["restored"]
    if restored is None and (given["pattern"] or given["csv"]):
        raise click.UsageError("--pattern and --csv are about a folder of outputs; add --restored")
    outputs = Outputs(restored.expanduser(), given["pattern"], given["csv"]) if restored else None
    chosen = Request(
        data=data,
        out=given["out"] or evaluation.default_out(data),
        outputs=outputs,
        by=by,
        against=given["against"] or "LQ",
        where={column: given[column] for column in _COLUMNS},
        protocols=given["protocol"],
        options=filling.assignments(given["options"]),
        command=shlex.join(["cirbench", *sys.argv[1:]]),
        **{
            key: given[key]
            for key in (
                *("model", "checkpoint", "name", "metrics", "split", "limit", "with_paper"),
                *("device", "jobs", "hq_roots", "report", "backend"),
                "on_mismatch",
            )
        },
    )
    results = evaluation.run(chosen, lambda line: click.echo(clean(line), err=True))
    click.echo("\n\n".join(render.text(table) for table in results.tables))
    click.echo("")
    _print_problems(results.outputs_without_score)
    for file in evaluation.written(chosen):
        click.echo(f"  {file}")
    if results.missing:
        click.echo(f"cirbench: outputs without a score: {results.missing}", err=True)
        sys.exit(3)


def _print_problems(problems: list[str]) -> None:
    for line in problems[:_MOST_LINES]:
        click.echo(clean(f"not scored: {line}"), err=True)
    if len(problems) > _MOST_LINES:
        more = len(problems) - _MOST_LINES
        click.echo(f"... and {more} more; all are in scores.parquet's metadata", err=True)


_COMPARED = (
    *("files", "compare", "by", "metrics", "protocol", "against", "with_paper", "out"),
    *_COLUMNS,
)


def _compare(files: tuple[Path, ...], by: str, given: dict[str, Any]) -> None:
    from .evaluation import compare, render

    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if source is ParameterSource.COMMANDLINE and parameter.name not in _COMPARED:
            raise click.UsageError(
                f"{parameter.opts[0]} does nothing with --compare, which reads finished evaluations"
            )
    found = compare.compare(
        files,
        metrics=given["metrics"],
        protocols=given["protocol"],
        where={column: given[column] for column in _COLUMNS},
        by=by,
        against=given["against"],
        with_paper=given["with_paper"],
        out=given["out"],
    )
    click.echo("\n\n".join(render.text(table) for table in found))
    for file in compare.written(given["out"]):
        click.echo(f"  {file}")


@click.command()
@click.argument("source", type=_path)
@_model_options
@click.option(
    "--out",
    default="restored",
    show_default=True,
    type=_path,
    help="Folder for the PNGs; for one image also a .png file.",
)
@click.option("--prompt", help="Text for models that take one.")
@click.option("--device", type=_DEVICES, help="Where the model runs; default: the best one.")
@click.option("--skip-existing", is_flag=True, help="Go on after an interruption.")
def restore(
    source: Path,
    model: str,
    checkpoint: Path | None,
    options: tuple[str, ...],
    out: Path,
    prompt: str | None,
    device: str | None,
    skip_existing: bool,
) -> None:
    """Restore an image, or all images of a folder.

    The results are PNGs of the same size under the same names. Existing files are never
    overwritten.
    """
    from .evaluation import checkpoints
    from .models import files, restorer

    if checkpoint and not model:
        model = checkpoints.model_of(checkpoint)
    if not model:
        found = checkpoints.default()
        if found is None:
            raise CirbenchError(
                f"there is no checkpoint under {checkpoints.RUNS}; name a restorer with --model: "
                f"{', '.join(restorer.names())}"
            )
        model, checkpoint = found.model, found.path
        click.echo(f"checkpoint: {checkpoint} ({model})", err=True)
    settings = filling.assignments(options)
    jobs = files.plan(source.expanduser(), out.expanduser())
    done = files.run(
        jobs,
        lambda: restorer.get(model, checkpoint, device, settings),
        prompt=prompt,
        skip_existing=skip_existing,
    )
    for line in done.problems:
        click.echo(clean(f"not restored: {line}"), err=True)
    for file in done.written[:1] if len(done.written) == 1 else []:
        click.echo(f"  {file}")
    if len(jobs) > 1:
        click.echo(
            f"{len(done.written)} images restored into {out}, {len(done.skipped)} already "
            f"there, {len(done.problems)} failed"
        )
    if done.written:
        click.echo(files.cost(done), err=True)
    if done.problems:
        sys.exit(3 if done.written or done.skipped else 1)
