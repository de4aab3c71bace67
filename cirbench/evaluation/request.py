"""What is to be evaluated: rows, models, metrics under protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import metrics, suggest
from ..backends import THREADS, Backend
from ..errors import CirbenchError
from ..manifest import Manifest
from ..metrics import protocol as protocols
from ..metrics.base import Metric
from . import tables
from .engine import Pair
from .results import LQ

DEFAULT_METRICS = ("psnr", "ssim", "ms-ssim", "psnr-b", "gmsd", "vmaf", "psnr-hvs")
"""Computed without ``--metrics``: the full-reference ones that need no weights."""

SPLITS = ("train", "test", "all")


@dataclass(frozen=True)
class Outputs:
    """A folder of someone's outputs, and how its files are matched (see :mod:`.match`)."""

    folder: Path
    pattern: str = ""
    table: Path | None = None


@dataclass(frozen=True)
class Request:
    """Everything an evaluation needs to know; see :func:`cirbench.evaluate` for the defaults.

    Attributes:
        data: the data set's folder.
        out: where scores, cached images, tables and the report go.
        outputs: a folder of outputs to score.
        model: a registered restorer to run; "" for none.
        checkpoint: its checkpoint.
        options: settings of the restorer, e.g. ``{"sampler.steps": 20}``.
        name: name of the outputs or the restorer in tables; "" for their own.
        metrics: names; empty for :data:`DEFAULT_METRICS`.
        protocols: names; empty for each metric's default one (and ``native-rgb`` for PSNR).
        split: "train", "test", "all"; None for "test", or all rows that are not for training where
            nothing is marked as test.
        where: only rows whose column has one of these values.
        limit: at most so many images of each set.
        by: what the rows of the first table are.
        against: the model that others are compared with.
        with_paper: show the numbers that papers print.
        device: where networks run; None for the best one.
        jobs: rows at a time; None for one per core.
        hq_roots: where HQ images are.
        report: write ``report.html``.
        on_mismatch: ``error`` or ``warn`` when LQ pixels decoded here are not the recorded ones.
        command: what was typed, for the provenance.
        backend: where rows are restored and scored.
    """

    data: Path
    out: Path
    outputs: Outputs | None = None
    model: str = ""
    checkpoint: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    metrics: Sequence[str] = ()
    protocols: Sequence[str] = ()
    split: str | None = None
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)
    limit: int | None = None
    by: str = "codec"
    against: str = LQ
    with_paper: bool = False
    device: str | None = None
    jobs: int | None = None
    hq_roots: Mapping[str, Path] = field(default_factory=dict)
    report: bool = True
    on_mismatch: str = "error"
    command: str = ""
    backend: Backend = THREADS

    def __post_init__(self) -> None:
        """Refuse values that are none of the above, in one sentence."""
        for name, value, allowed in (
            ("split", self.split, (None, *SPLITS)),
            ("by", self.by, tables.BY),
        ):
            if value not in allowed:
                legal = ", ".join(filter(None, allowed))
                raise CirbenchError(f"{name} cannot be {value!r}; it is one of {legal}")
        for name, number in (("jobs", self.jobs), ("limit", self.limit)):
            if number is not None and number < 1:
                raise CirbenchError(f"{name} cannot be {number}; it is at least 1")
        if self.outputs and self.model and self.name:
            raise CirbenchError(
                "--name with both --restored and --model names nothing; evaluate them one by one"
            )


def pairs(names: Sequence[str], chosen: Sequence[str]) -> tuple[list[Pair], list[str]]:
    """The metrics with their protocols, and remarks about what was left out.

    Raises CirbenchError for unknown names, and when nothing is left.
    """
    wanted = metrics.parse(",".join(names or DEFAULT_METRICS))
    for name in chosen:
        protocols.get(name)
    found: list[Pair] = []
    remarks = []
    for metric in wanted:
        usable = [name for name in dict.fromkeys(chosen) if name in metric.protocols]
        if not chosen:
            usable = _defaults(metric)
        if not usable:
            legal = ", ".join(metric.protocols)
            remarks.append(
                f"{metric.title} is not defined under {', '.join(chosen)} (only {legal}): left out"
            )
        found += [(metric, name) for name in usable]
    if not found:
        raise CirbenchError(f"nothing to compute: {'; '.join(remarks)}")
    return found, remarks


def _defaults(metric: Metric) -> list[str]:
    """A metric's own first protocol; PSNR under both that the field reports."""
    extra = ["native-rgb"] if metric.name == "psnr" else []
    return list(dict.fromkeys([metric.protocols[0], *extra]))


def rows(request: Request, manifest: Manifest) -> tuple[Manifest, list[str]]:
    """The rows to evaluate, and remarks. Raises CirbenchError when there are none."""
    remarks = []
    failed = len(manifest) - len(manifest.usable)
    if failed:
        remarks.append(f"{request.data}: rows that failed to build and cannot be scored: {failed}")
    chosen = manifest.usable
    splits = set(chosen.table["split"].unique().to_pylist())
    if request.split == "all":
        pass
    elif request.split or "test" in splits:
        chosen = chosen.filter(split=request.split or "test")
    elif "" in splits:
        chosen = chosen.filter(split="")
        remarks.append(f"{request.data} has no split 'test': all rows without a split are used")
    else:
        raise CirbenchError(f"{request.data} is for training only; say --split train to use it")
    for column, values in request.where.items():
        if values:
            present = sorted(set(chosen.table[column].unique().to_pylist()))
            unknown = [value for value in values if value not in present]
            if unknown:
                near = suggest.hint(unknown[0], present)
                raise CirbenchError(f"no {column} {unknown[0]!r} among the rows; {near}")
            chosen = chosen.filter(**{column: list(values)})
    if request.limit:
        chosen = _limited(chosen, request.limit)
    if not len(chosen):
        raise CirbenchError(f"{request.data} has no rows to evaluate; see --split")
    return chosen, remarks


def _limited(manifest: Manifest, limit: int) -> Manifest:
    """The first ``limit`` images of each set, by path."""
    names: dict[str, list[str]] = {}
    images = manifest.table.group_by(["set", "hq_path"]).aggregate([]).to_pylist()
    for image in sorted(images, key=lambda one: (one["set"], one["hq_path"])):
        names.setdefault(image["set"], []).append(image["hq_path"])
    kept = {(name, path) for name, paths in names.items() for path in paths[:limit]}
    columns = (manifest.table[name].to_pylist() for name in ("row_id", "set", "hq_path"))
    ids = [row_id for row_id, *image in zip(*columns, strict=True) if tuple(image) in kept]
    return manifest.filter(row_id=ids)
