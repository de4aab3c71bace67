"""``cirbench build``: plan, subtract what is done, run, write the manifest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import joblib

from .. import __version__, manifest, recipe, roots, sources, weights
from ..errors import CirbenchError
from ..recipe import Task
from ..samples import sample_source
from ..sources import Found, Source
from . import available, engine, plan, recover, store
from .journal import Journal
from .row import Target

HQ_MODES = ("ref", "link", "copy")
Values = int | str | Sequence[int | str]


@dataclass(frozen=True)
class Request:
    """Everything a build needs to know; the defaults are ``cirbench build`` without arguments.

    Attributes:
        sources: collections of HQ images; empty means the sample photos.
        tasks: what to build of each image.
        recipe: gives tasks their kinds and numbers; recorded in the manifest.
        out: the data set's folder.
        store: ``png``, ``bitstream``, ``bitstream-only``; None keeps the data set's own (``png``).
        hq: ``ref``, ``link``, ``copy``; None keeps the data set's own (``ref``).
        jobs: rows at a time; None is one per core.
        weights: ``auto``, ``published`` or ``mini`` weights for the learned codecs.
        limit: at most so many images of each source.
        max_failures: stop after more failed rows than this.
        rehash: decode and hash every known image again instead of trusting size and time.
    """

    sources: Sequence[Source]
    tasks: Sequence[Task]
    recipe: recipe.Recipe
    out: Path = Path("data/cir")
    store: str | None = None
    hq: str | None = None
    jobs: int | None = None
    weights: str = "auto"
    limit: int | None = None
    max_failures: int | None = None
    rehash: bool = False

    def __post_init__(self) -> None:
        """Refuse values that are none of the above, in one sentence."""
        choices = (
            ("store", self.store, (None, *store.MODES)),
            ("hq", self.hq, (None, *HQ_MODES)),
            ("weights", self.weights, weights.POLICIES),
            *(("split", source.split, ("", "train", "test")) for source in self.sources),
        )
        for name, value, allowed in choices:
            if value not in allowed:
                legal = ", ".join(filter(None, allowed))
                raise CirbenchError(f"{name} cannot be {value!r}; it is one of {legal}")
        for name, number, least in (
            ("jobs", self.jobs, 1),
            ("limit", self.limit, 1),
            ("max_failures", self.max_failures, 0),
        ):
            if number is not None and number < least:
                raise CirbenchError(f"{name} cannot be {number}; it is at least {least}")
        object.__setattr__(self, "out", self.out.expanduser())


@dataclass
class Result:
    """What a build did.

    Attributes:
        out: the data set's folder, with ``manifest.parquet`` in it.
        made: rows made by this run.
        skipped: rows that were there already.
        failed: rows and images that failed in this run.
        unavailable: why tasks of the plan were left out, by codec.
    """

    out: Path
    made: int = 0
    skipped: int = 0
    failed: int = 0
    unavailable: dict[str, str] = field(default_factory=dict)


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
    **settings: object,
) -> Result:
    """Turn HQ photos into a verified compressed data set; the Python face of ``cirbench build``.

    >>> cirbench.build("~/LIVE1", codec="vvc", qp=[37, 42, 47], out="data/live1")

    Args:
        source: folders or images (``"name=path"`` names the set); none means the sample photos.
        codec: codec names; none means all of the recipe's.
        qp, quality, level: operating points (37, [37, 42] or "37,42"); none means the recipe's.
        recipe_name: a shipped recipe or a TOML file.
        out, store_mode, hq, jobs, limit, max_failures, rehash: see :class:`Request`.
        weights_policy: ``auto``, ``published`` or ``mini`` weights of the learned codecs.
        set_name, split: name of the set and its split ("train", "test") instead of the defaults.
        settings: encoder settings (``encoder``, ``preset``, ``chroma``, ``bit_depth``,
            ``conversion``, ``device``, ``threads``); a list of encoders is comma-separated.

    Returns:
        What was made, skipped and failed. Finished rows survive any exception or kill.

    Raises:
        CirbenchError: nothing could run, or the build had to stop.
    """
    chosen = recipe.load(recipe_name)
    given = [source] if isinstance(source, (str, Path)) else list(source)
    levels = {"qp": _listed(qp), "qf": _listed(quality), "": _listed(level)}
    tasks = recipe.select(chosen, _listed(codec), levels, **settings)
    request = Request(
        parse_sources([str(item) for item in given], set_name, split),
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
    )
    return run(request)


def _listed(values: Values) -> list[str]:
    """``37``, ``"37,42"`` or ``[37, 42]`` as texts."""
    if isinstance(values, str):
        return [part.strip() for part in values.split(",") if part.strip()]
    return [str(value) for value in ([values] if isinstance(values, int) else values)]


def parse_sources(given: Sequence[str], set_name: str | None, split: str | None) -> list[Source]:
    """Sources from ``PATH`` or ``NAME=PATH`` texts; the sample photos when there are none."""
    if not given:
        if set_name or split:
            raise CirbenchError("--set and --split are about a SOURCE; give a folder of photos")
        return [sample_source()]
    found = sources.parse_sources(given, set_name, split)
    for source in found:
        if source.set == "sample" and source.root != sample_source().root:
            raise CirbenchError(
                "the set name 'sample' is that of scikit-image's photos; name yours: "
                f"mine={source.root}"
            )
    return found


def run(request: Request, say: Callable[[str], None] = lambda line: None) -> Result:
    """Carry out a build; ``say`` gets one-line remarks. Raises CirbenchError as :func:`build`."""
    out = request.out
    result = Result(out)
    here = available.check(request.tasks, request.weights)
    result.unavailable = here.missing
    for remark in here.remarks:
        say(remark)
    with store.lock(out), Journal(out) as journal:
        if recover.refill(journal, out):
            say("the journal was missing; it was made again from the manifest")
        modes = _modes(request, journal, out)
        target = Target(out, *modes, request.recipe.name, here.versions)
        _check_versions(journal, here.versions)
        found = _with_splits(find(request), journal)
        _remember(request, journal, out)
        jobs = request.jobs or joblib.cpu_count()
        changed = engine.refresh(out, found, journal, jobs, request.rehash)
        if changed:
            say(f"{len(changed)} photos changed since they were built: their old rows are dropped")
        todo = plan.make(found, here.tasks, journal, engine.present(out, journal))
        engine.place_finished(todo, target)
        _forget_vanished(journal, found, request)
        result.skipped = todo.done
        try:
            result.made, result.failed = engine.run(
                todo, target, journal, jobs, request.max_failures
            )
        finally:
            manifest.write(out, journal, __version__)
    return result


def find(request: Request) -> list[Found]:
    """All images of all sources. Raises CirbenchError when there are none."""
    found: list[Found] = []
    for source in request.sources:
        mine = list(islice(sources.find(source), request.limit))
        if not mine:
            raise CirbenchError(
                f"{source.root} holds no images (PNG, JPEG, BMP, TIFF, WebP); give photos"
            )
        found += mine
    return found


def _modes(request: Request, journal: Journal, out: Path) -> tuple[str, str]:
    """(store, hq) of the data set; refuses to change what an earlier build chose."""
    chosen = []
    defaults = (("store", request.store, "png"), ("hq", request.hq, "ref"))
    for key, wanted, default in defaults:
        recorded = journal.meta(key)
        if wanted and recorded and wanted != recorded:
            raise CirbenchError(
                f"{out} was built with --{key} {recorded}, this build says --{key} {wanted}; "
                "choose another --out" + (" or use cirbench materialize" if key == "store" else "")
            )
        chosen.append(recorded or wanted or default)
        journal.set_meta(key, chosen[-1])
    return chosen[0], chosen[1]


def _with_splits(found: Sequence[Found], journal: Journal) -> list[Found]:
    """Images with their split: the one given now, for all their rows, else the recorded one.

    An image is never in two splits.
    """
    recorded = {name: journal.splits(name) for name in {image.set for image in found}}
    settled = []
    for image in found:
        before = recorded[image.set].get(image.path, "")
        if image.split and image.path in recorded[image.set] and image.split != before:
            journal.set_split(image.set, image.path, image.split)
        settled.append(replace(image, split=image.split or before))
    return settled


def _check_versions(journal: Journal, versions: Mapping[tuple[str, str], tuple[str, str]]) -> None:
    """Refuse to mix rows of two versions of one encoder or decoder in one data set."""
    for (codec, encoder), here in versions.items():
        where = "status != 'error' AND codec = ? AND encoder = ?"
        fields = "encoder_version, decoder_version"
        for recorded in journal.select(fields, where, (codec, encoder)):
            if recorded != here:
                old, new = (" / ".join(dict.fromkeys(pair)) for pair in (recorded, here))
                raise CirbenchError(
                    f"the {codec} rows in {journal.path.parent} were made with {old}, this machine "
                    f"has {new}; install that version again or choose another --out"
                )
            break  # all rows of one encoder agree, by this very check


def _remember(request: Request, journal: Journal, out: Path) -> None:
    """Record the recipe in the journal and the sources in roots.toml."""
    entry = {
        "name": request.recipe.name,
        "version": request.recipe.version,
        "sha256": request.recipe.sha256,
    }
    recipes = [r for r in json.loads(journal.meta("recipes", "[]")) if r != entry] + [entry]
    recipes.sort(key=lambda r: (r["name"], r["version"], r["sha256"]))
    journal.set_meta("recipes", json.dumps(recipes))
    known = roots.read(out)
    for source in request.sources:
        if source.set == "sample":
            continue  # found inside scikit-image, wherever that is
        if not _is_text(source.root):
            raise CirbenchError(f"{source.root!r} is no UTF-8 name; rename the folder")
        before = known.get(source.set)
        if before and before.is_dir() and not before.samefile(source.root):
            raise CirbenchError(
                f"in {out} the set {source.set!r} is {before}; name the other folder: "
                f"{source.set}2={source.root}"
            )
        known[source.set] = source.root
    if known != roots.read(out):
        store.write(out, roots.FILE_NAME, roots.text(known).encode())


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _forget_vanished(journal: Journal, found: Sequence[Found], request: Request) -> None:
    """Drop the error rows of unusable files that are no longer in their folder."""
    there = {(image.set, image.path) for image in found}
    sets = {source.set for source in request.sources if not source.files and not request.limit}
    gone = [
        row_id
        for row_id, name, path in journal.select('row_id, "set", hq_path', "task IS NULL")
        if name in sets and (name, path) not in there
    ]
    if gone:
        journal.delete(gone)
