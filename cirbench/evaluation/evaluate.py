"""``cirbench eval``: plan, subtract what is scored, restore, score, aggregate, write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from ..backends import Backend
from ..backends.workers import opened
from ..builder import store
from ..errors import CirbenchError, CodecError, InputError
from ..listed import listed
from ..manifest import FILE_NAME as MANIFEST_NAME
from ..manifest import Manifest
from . import (
    collect,
    engine,
    files,
    paired,
    provenance,
    request,
    router_map,
    selection,
    sets,
    tables,
)
from .engine import Context, Pair, Trouble
from .journal import Journal
from .methods import Method, Row
from .request import Outputs, Request
from .results import LQ, Results, Table

Values = str | Sequence[str]
Say = Callable[[str], None]


def evaluate(
    data: str | Path = "data/cir",
    *,
    restored: str | Path | None = None,
    pattern: str = "",
    csv: str | Path | None = None,
    model: str = "",
    checkpoint: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    name: str = "",
    metrics: Values = (),
    protocol: Values = (),
    split: str | None = None,
    where: Mapping[str, Values] | None = None,
    limit: int | None = None,
    by: str = "codec",
    against: str = LQ,
    with_paper: bool = False,
    device: str | None = None,
    jobs: int | None = None,
    out: str | Path | None = None,
    hq_roots: Mapping[str, str | Path] | None = None,
    report: bool = True,
    on_mismatch: str = "error",
    backend: str = "threading",
    scheduler: str = "",
    resources: Mapping[str, Mapping[str, float]] | None = None,
) -> Results:
    """Score a restorer, or anyone's outputs, against the unrestored LQ; as ``cirbench eval``.

    >>> results = cirbench.evaluate("data/cir", restored="outputs", metrics=["psnr", "ssim"])
    >>> results.scores.to_pandas()

    Args:
        data: a data set made by ``cirbench build``.
        restored, pattern, csv: a folder of outputs, and how its files are called.
        model, checkpoint, options: a registered restorer to run; options are its settings, e.g.
            ``{"sampler.steps": 20}``.
        name: what to call the outputs or the restorer.
        metrics, protocol: names, in a list or comma-separated; none means the defaults.
        split, where, limit: which rows; ``where`` is e.g. ``{"codec": "jpeg"}``.
        by, against, with_paper: see :class:`~cirbench.evaluation.request.Request`.
        device, jobs, hq_roots, report, on_mismatch: the same.
        backend, scheduler, resources: where rows are restored and scored, see
            :class:`~cirbench.backends.Backend`; resources are those of "restore" and "score".
        out: folder for the results; None means ``eval/<name of the data set>``.

    Returns:
        The results; the files are in ``out``. Scores survive any exception or kill.

    Raises:
        CirbenchError: nothing could be scored, or something given is wrong.
    """
    outputs = None
    if restored is not None:
        outputs = Outputs(Path(restored).expanduser(), pattern, Path(csv) if csv else None)
    elif pattern or csv:
        raise CirbenchError("--pattern and --csv are about a folder of outputs; add --restored")
    chosen = Request(
        data=Path(data),
        out=Path(out) if out else default_out(Path(data)),
        outputs=outputs,
        model=model,
        checkpoint=Path(checkpoint) if checkpoint else None,
        options=options or {},
        name=name,
        metrics=listed(metrics),
        protocols=listed(protocol),
        split=split,
        where={key: listed(value) for key, value in (where or {}).items()},
        limit=limit,
        by=by,
        against=against,
        with_paper=with_paper,
        device=device,
        jobs=jobs,
        hq_roots={key: Path(root) for key, root in (hq_roots or {}).items()},
        report=report,
        on_mismatch=on_mismatch,
        backend=Backend(backend, scheduler, resources or {}),
        command="cirbench.evaluate",
    )
    return run(chosen)


def default_out(data: Path) -> Path:
    """``eval/<name of the data set's folder>`` below the working directory."""
    folder = data.parent if data.suffix == ".parquet" else data
    return Path("eval") / (folder.resolve().name or "data")


def run(chosen: Request, say: Say = lambda line: None) -> Results:
    """Carry out an evaluation; ``say`` gets one-line remarks. Raises as :func:`evaluate`."""
    manifest, remarks = request.rows(
        chosen, Manifest.open(chosen.data, dict(chosen.hq_roots), chosen.on_mismatch)
    )
    wanted, left_out = request.pairs(chosen.metrics, chosen.protocols)
    remarks += left_out
    able = [pair for pair in wanted if not pair[0].problem()]
    if not able:
        raise CirbenchError("; ".join(dict.fromkeys(metric.problem() for metric, _ in wanted)))
    out = chosen.out.expanduser()
    if (out / MANIFEST_NAME).exists():
        raise CirbenchError(f"{out} is a data set; choose another --out")
    rows = list(manifest)
    chosen.backend.check_resources(engine.WORK, "part of an evaluation")
    opening = opened(chosen.backend, chosen.jobs, out)
    with opening as workers, store.lock(out), Journal(out) as journal:
        trouble = Trouble()
        device = chosen.device or _best_device(wanted)
        jobs = chosen.jobs or int(joblib.cpu_count())
        context = Context(manifest, journal, trouble, device, jobs, workers)
        scored, about = selection.select(chosen, manifest, rows, journal, out, say)
        remarks += about
        for remark in remarks:
            say(remark)
        single = [pair for pair in able if pair[0].per == "image"]
        grouped = [pair for pair in able if pair[0].per == "set"]
        _score(rows, scored, single, grouped, context, out)
        scores = collect.table(rows, scored, single, grouped, context)
        unscored = collect.unscored(rows, scored, trouble)
        remarks += collect.mismatched(manifest)
        router = router_map.write(out, rows, scored, manifest)
        problems = [*remarks, *unscored, *collect.absent(trouble), *router.remarks]
        shown = _tables(chosen, scores, wanted, scored, trouble, remarks)
        facts = provenance.of(chosen, manifest, scored, wanted)
        results = Results(
            manifest,
            scores,
            tuple(method.label for method in scored),
            _pixels(scored, trouble),
            {metric.name: metric for metric, _ in wanted},
            problems,
            facts,
            shown,
            unscored,
            router.picture,
        )
        metadata = {
            "recipes": manifest.metadata.get("recipes", []),
            "problems": problems,
            "provenance": facts,
        }
        files.write(out, scores, shown, metadata)
        if chosen.report:
            from ..report import html

            html.write(results, out / files.REPORT)
    return results


def _score(
    rows: Sequence[Row],
    scored: Sequence[Method],
    single: Sequence[Pair],
    grouped: Sequence[Pair],
    context: Context,
    out: Path,
) -> None:
    """Restore and score what is not in the journal yet."""
    units = engine.plan(rows, scored, single, context)
    for method in scored:
        lacking = [row for row, todo in units if any(one is method for one, _ in todo)]
        engine.restore(rows if grouped else lacking, method, context)
    engine.score(units, context)
    sets.score(rows, scored, grouped, context, out / "statistics")


def written(chosen: Request) -> list[Path]:
    """The files that :func:`run` writes."""
    names = [files.SCORES, files.SUMMARY, files.LATEX, files.MARKDOWN]
    names += [files.REPORT] if chosen.report else []
    return [*(chosen.out / name for name in names), *router_map.files(chosen.out)]


def _best_device(wanted: Sequence[Pair]) -> str:
    """ "cuda" where there is one and a metric may use it; torch is not imported for others."""
    from importlib.util import find_spec

    if not any(metric.problem() == "" and metric.name in _NETWORKS for metric, _ in wanted):
        return "cpu"
    if find_spec("torch") is None:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


_NETWORKS = ("lpips", "lpips-vgg", "dists", "fid", "clip-iqa", "maniqa")


def _tables(
    chosen: Request,
    scores: Any,
    wanted: Sequence[Pair],
    scored: Sequence[Method],
    trouble: Trouble,
    remarks: Sequence[str],
) -> list[Table]:
    labels = [method.label for method in scored]
    first = tables.by(scores, wanted, labels, chosen.by, chosen.with_paper)
    notes = [*collect.footnotes(wanted, scored, trouble), *remarks]
    shown = [replace(first, notes=(*first.notes, *notes))]
    second = tables.kinds(scores, wanted, labels)
    third = paired.paired(scores, wanted, labels, chosen.against)
    return [*shown, *(table for table in (second, third) if table)]


def _pixels(
    scored: Sequence[Method], trouble: Trouble
) -> Callable[[str, Mapping[str, Any]], NDArray[np.uint8] | None]:
    by_label = {method.label: method for method in scored}

    def restored(model: str, row: Mapping[str, Any]) -> NDArray[np.uint8] | None:
        if (model, row["row_id"]) in trouble.outputs:
            return None
        try:
            return by_label[model].pixels(row)
        except (InputError, CodecError):
            return None

    return restored
