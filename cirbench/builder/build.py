"""``cirbench build``: plan, subtract what is done, run, write the manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import joblib

from .. import __version__, codecs, manifest, recipe, splits
from ..backends import Backend
from ..backends.workers import opened
from ..listed import Values, listed
from ..sources import Found
from . import available, engine, finished, known, plan, recover, settled, store
from .journal import Journal
from .request import Request, check_sources, find, parse_sources
from .row import Target


@dataclass
class Result:
    """What a build did.

    Attributes:
        out: the data set's folder, with ``manifest.parquet`` in it.
        made: rows made by this run.
        skipped: rows that were there already.
        failed: rows and images that failed in this run.
        unavailable: why tasks of the plan were left out, by codec.
        sets: what the sources are called in the data set.
    """

    out: Path
    made: int = 0
    skipped: int = 0
    failed: int = 0
    unavailable: dict[str, str] = field(default_factory=dict)
    sets: tuple[str, ...] = ()


def build(
    source: str | Path | Sequence[str | Path] = (),
    *,
    codec: Values = (),
    qp: Values = (),
    quality: Values = (),
    level: Values = (),
    recipe_name: str = "paper",
    out: str | Path = "data/cir",
    set_name: str | None = None,
    split: str | None = None,
    store_mode: str | None = None,
    hq: str | None = None,
    jobs: int | None = None,
    weights_policy: str = "auto",
    limit: int | None = None,
    max_failures: int | None = None,
    rehash: bool = False,
    tile: int | None = None,
    stride: int | None = None,
    splits: str | Path | None = None,
    split_seed: int = 0,
    backend: str = "threading",
    scheduler: str = "",
    resources: Mapping[str, Mapping[str, float]] | None = None,
    **settings: object,
) -> Result:
    """Turn HQ photos into a verified compressed data set; the Python face of ``cirbench build``.

    >>> cirbench.build("~/LIVE1", codec="vvc", qp=[37, 42, 47], out="data/live1")

    Args:
        source: folders or images (``"name=path"`` names the set); none means the sample photos.
        codec: codec names; none means all of the recipe's.
        qp, quality, level: operating points (37, [37, 42] or "37,42"); none means the recipe's.
        recipe_name: a shipped recipe or a TOML file.
        out, store_mode, hq, jobs, limit, max_failures, rehash, tile, stride: see :class:`Request`.
        weights_policy: ``auto``, ``published`` or ``mini`` weights of the learned codecs.
        set_name, split: name of the set and its split ("train", "test") instead of the defaults.
        splits, split_seed: a file with splits, or a ratio such as 0.9 (train) and its seed.
        backend, scheduler, resources: where rows run, see :class:`~cirbench.backends.Backend`.
        settings: encoder settings (``encoder``, ``preset``, ``chroma``, ``bit_depth``,
            ``conversion``, ``device``, ``threads``); a list of encoders is comma-separated.

    Returns:
        What was made, skipped and failed. Finished rows survive any exception or kill.

    Raises:
        CirbenchError: nothing could run, or the build had to stop.
    """
    chosen = recipe.load(recipe_name)
    given = [source] if isinstance(source, (str, Path)) else list(source)
    levels = {"qp": listed(qp), "qf": listed(quality), "": listed(level)}
    tasks = recipe.select(chosen, listed(codec), levels, **settings)
    texts = [str(item) for item in given]
    found = parse_sources(texts, set_name, split)
    request = Request(
        found,
        tasks,
        chosen,
        Path(out),
        store_mode,
        hq,
        jobs,
        weights_policy,
        limit,
        max_failures,
        rehash,
        tile,
        stride,
        None if splits is None else str(splits),
        split_seed,
        known.unnamed(texts, set_name, found),
        Backend(backend, scheduler, resources or {}),
    )
    return run(request)


def run(request: Request, say: Callable[[str], None] = lambda line: None) -> Result:
    """Carry out a build; ``say`` gets one-line remarks. Raises CirbenchError as :func:`build`."""
    out = request.out
    check_sources(request)
    result = Result(out)
    given = splits.parse(request.splits, request.split_seed) if request.splits else None
    here = available.check(request.tasks, request.weights)
    result.unavailable = here.missing
    for remark in here.remarks:
        say(remark)
    request.backend.check_resources(codecs.names(), "codec")
    opening = opened(request.backend, request.jobs, out)
    with opening as workers, store.lock(out), Journal(out) as journal:
        if recover.refill(journal, out, request.store):
            say("the journal was missing; it was made again from the manifest")
        modes = settled.modes(request.store, request.hq, journal, out)
        target = Target(out, *modes, request.recipe.name, here.versions, here.weights)
        settled.check_versions(journal, here.versions)
        settled.check_weights(journal, here.weights)
        jobs = request.jobs or joblib.cpu_count()
        named, remarks = known.rename(request.sources, request.unnamed, out, jobs)
        request = replace(request, sources=named)
        result.sets = tuple(source.set for source in named)
        for remark in remarks:
            say(remark)
        found = _with_splits(find(request), journal)
        wanted = given.assign(found) if isinstance(given, splits.Listed) else given
        settled.remember(request.recipe, request.sources, journal, out)
        tiling = request.tiling
        changed = engine.refresh(out, found, journal, workers, request.rehash, tiling is not None)
        if changed:
            say(f"{len(changed)} photos changed since they were built: their old rows are dropped")
        todo = plan.make(found, here.tasks, journal, finished.rows(out, journal), tiling)
        engine.place_finished(todo, target)
        _forget_vanished(journal, found, request)
        result.skipped = todo.done
        try:
            result.made, result.failed = engine.run(
                todo, target, journal, workers, request.max_failures
            )
        finally:
            try:
                remarks = known.settle(named, found, journal, wanted, request.limit is not None)
            finally:
                manifest.write(out, journal, __version__)
        for remark in remarks:
            say(remark)
    return result


def _with_splits(found: Sequence[Found], journal: Journal) -> list[Found]:
    """Images with their split: the one given now, for all their rows, else the recorded one.

    An image is never in two splits. The sample photos' own splits are a default that was not given.
    """
    recorded = {name: journal.splits(name) for name in {image.set for image in found}}
    settled = []
    for image in found:
        before = recorded[image.set].get(image.path, "")
        if image.set == "sample" and before:
            image = replace(image, split="")
        if image.split and image.path in recorded[image.set] and image.split != before:
            journal.set_split(image.set, image.path, image.split)
        kept = image.split or not before
        settled.append(image if kept else replace(image, split=before))
    return settled


def _forget_vanished(journal: Journal, found: Sequence[Found], request: Request) -> None:
    """Drop the error rows of files that can be read now or are no longer in their folder."""
    sets = {source.set for source in request.sources if not source.files and not request.limit}
    unusable = {(name, path): row_id for row_id, name, path in journal.unusable()}
    if not unusable:
        return
    here = {(image.set, image.path): image for image in found}
    gone = [
        row_id
        for key, row_id in unusable.items()
        if (plan.is_current(here[key], journal.image(*key)) if key in here else key[0] in sets)
    ]
    journal.delete(gone)
