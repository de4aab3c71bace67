"""Scores as arrays: what the report's charts, tables and pictures are made from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .. import codecs
from ..evaluation.aggregate import GROUP
from ..evaluation.bootstrap import interval
from ..evaluation.cells import titles
from ..evaluation.results import LQ, Results
from ..metrics.base import Metric
from ..recipe import UNSEEN

Array = NDArray[np.float64]

_IS_GROUP = pc.starts_with(pc.field("row_id"), GROUP)
_PERCEPTION = ("lpips", "dists", "fid")
_COLUMNS = (
    *("row_id", "set", "split", "kind", "task", "codec", "level", "variant", "bpp"),
    *("hq_path", "tile"),
)


@dataclass(frozen=True)
class Measure:
    """A metric under a protocol.

    Attributes:
        metric, protocol: their names.
        title: as in the tables: ``"PSNR Y"``.
        unit: ``"dB"`` or ``""``.
        digits: decimals printed.
        higher: higher is better.
        perception: it judges looks (no reference, deep features, groups), not differences.
        doc: its source and range.
    """

    metric: str
    protocol: str
    title: str
    unit: str
    digits: int
    higher: bool
    perception: bool
    doc: str

    @property
    def label(self) -> str:
        """Title and unit: ``"PSNR (dB)"``."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def gain(self, model: Array, lq: Array) -> Array:
        """How much better ``model`` is, positive for better; NaN where either is not finite."""
        return self.delta(model, lq) if self.higher else -self.delta(model, lq)

    @staticmethod
    def delta(model: Array, lq: Array) -> Array:
        """``model - lq``; NaN where either is not finite (equal images have an infinite PSNR)."""
        finite = np.isfinite(model) & np.isfinite(lq)
        return np.where(finite, np.where(finite, model, 0) - np.where(finite, lq, 0), np.nan)


@dataclass(frozen=True)
class Task:
    """The evaluated rows of one task and variant.

    Attributes:
        codec, name, variant, kind: as in the manifest.
        index: places of its rows in :class:`Data`.
        bpp: mean bits per pixel.
    """

    codec: str
    name: str
    variant: str
    kind: str
    index: NDArray[np.intp]
    bpp: float

    @property
    def title(self) -> str:
        """Name and variant."""
        return f"{self.name} {self.variant}".strip()

    @property
    def unseen(self) -> bool:
        """Whether a model trained on the recipe's seen tasks never met it."""
        return self.kind in UNSEEN


class Data:
    """The scores of an evaluation, a vector per measure and model, beside its rows.

    Attributes:
        results: where they are from.
        rows: columns of the manifest by name, one entry per evaluated row.
        measures: metrics and protocols that have scores, in the evaluation's order.
        models: names, without the LQ.
        tasks: by codec in the paper's order, variant, and rising bpp.
    """

    def __init__(self, results: Results) -> None:
        self.results = results
        self.models = tuple(name for name in results.models if name != LQ)
        table = results.manifest.table
        scores = results.scores
        self.measures = _measures(results)
        known = pc.is_in(table["row_id"], value_set=_plain(scores["row_id"].unique()))
        grouped = pc.is_in(_group_ids(table), value_set=_group_ids(scores.filter(_IS_GROUP)))
        table = table.select(list(_COLUMNS)).filter(pc.or_(known, grouped))
        self.rows: dict[str, Any] = {
            name: table[name].to_numpy(zero_copy_only=False) for name in _COLUMNS
        }
        place = pc.index_in(scores["row_id"], value_set=_plain(table["row_id"]))
        self._scores = scores.append_column("place", place)
        photos = {key: i for i, key in enumerate(self._photo_keys())}
        self._photo = np.array([photos[key] for key in self._photo_keys()], dtype=np.intp)
        self._values: dict[tuple[str, str, str], Array] = {}

    def __len__(self) -> int:
        return len(self.rows["row_id"])

    def _photo_keys(self) -> list[tuple[str, str]]:
        return list(zip(self.rows["set"], self.rows["hq_path"], strict=True))

    def per_photo(self, values: Array, index: NDArray[np.intp] | None = None) -> Array:
        """Every photo's mean over its finite ``values`` (one per row, or those at ``index``).

        Tables average these, and intervals resample them: tasks of one photo are no new evidence.
        """
        photo, found = self._photo, values
        if index is not None:
            photo, found = photo[index], values[index]
        finite = np.isfinite(found)
        _, place = np.unique(photo[finite], return_inverse=True)
        return np.asarray(np.bincount(place, found[finite]) / np.bincount(place), np.float64)

    def values(self, measure: Measure, model: str) -> Array:
        """Scores of every row, NaN where there is none."""
        key = (measure.metric, measure.protocol, model)
        if key not in self._values:
            mine = self._of(measure, model).filter(pc.is_valid(pc.field("place")))
            found = np.full(len(self), np.nan)
            found[mine["place"].to_numpy()] = mine["value"].to_numpy()
            self._values[key] = found
        return self._values[key]

    def _of(self, measure: Measure, model: str) -> pa.Table:
        return self._scores.filter(
            (pc.field("metric") == measure.metric)
            & (pc.field("protocol") == measure.protocol)
            & (pc.field("model") == model)
        )

    def mean(self, measure: Measure, model: str, task: Task) -> float:
        """Mean of a task's finite scores; of a metric on groups, its score; NaN without any."""
        found = self.per_photo(self.values(measure, model), task.index)
        if not len(found):
            groups = self._of(measure, model).filter(
                _IS_GROUP & (pc.field("task") == task.name) & (pc.field("variant") == task.variant)
            )
            found = groups["value"].to_numpy()
        return float(found.mean()) if len(found) else np.nan

    def task_delta(self, measure: Measure, model: str, task: Task) -> tuple[float, float, float]:
        """Model minus LQ of a task, and its interval (NaN for a metric on groups of images)."""
        if self.per_image(measure):
            return self.delta(measure, model, task.index)
        return self.mean(measure, model, task) - self.mean(measure, LQ, task), np.nan, np.nan

    def mean_of_all(self, measure: Measure, model: str) -> float:
        """Mean over photos, or over tasks for a metric on groups; NaN without any score."""
        found = self.per_photo(self.values(measure, model))
        if not len(found):
            found = np.array([self.mean(measure, model, task) for task in self.tasks])
            found = found[np.isfinite(found)]
        return float(found.mean()) if len(found) else np.nan

    def delta(
        self, measure: Measure, model: str, index: NDArray[np.intp] | None = None
    ) -> tuple[float, float, float]:
        """Mean over photos of model minus LQ, and its bootstrap 95 % interval; NaN without."""
        found = self.per_photo(self.deltas(measure, model), index)
        ends = interval(found) or (np.nan, np.nan)
        return (float(found.mean()) if len(found) else np.nan), *ends

    def per_image(self, measure: Measure) -> bool:
        """Whether it scores single images."""
        return bool(np.isfinite(self.values(measure, LQ)).any())

    def gains(self, measure: Measure, model: str) -> Array:
        """How much better than the LQ each row is: positive is better, NaN without a score."""
        return measure.gain(self.values(measure, model), self.values(measure, LQ))

    def deltas(self, measure: Measure, model: str) -> Array:
        """Model minus LQ of each row, NaN without a score."""
        return measure.delta(self.values(measure, model), self.values(measure, LQ))

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that were evaluated."""
        groups: dict[tuple[str, ...], list[int]] = {}
        keys = zip(*(self.rows[n] for n in ("codec", "task", "variant", "kind")), strict=True)
        for i, key in enumerate(keys):
            groups.setdefault(key, []).append(i)
        found = []
        for (codec, name, variant, kind), places in groups.items():
            index = np.asarray(places)
            bpp = float(self.rows["bpp"][index].mean())
            found.append(Task(codec, name, variant, kind, index, bpp))
        order = codecs.names().index
        return tuple(sorted(found, key=lambda task: (order(task.codec), task.variant, task.bpp)))

    @cached_property
    def codecs(self) -> tuple[str, ...]:
        """The codecs that were evaluated, in the paper's order."""
        return tuple(dict.fromkeys(task.codec for task in self.tasks))

    def of(self, codec: str) -> NDArray[np.intp]:
        """Places of a codec's rows."""
        return np.concatenate([task.index for task in self.tasks if task.codec == codec])


def _group_ids(table: pa.Table) -> pa.Array:
    """Which group of images every row belongs to."""
    columns = [pc.cast(table[name], pa.string()) for name in ("set", "task", "variant")]
    return _plain(pc.binary_join_element_wise(*columns, "/"))


def _measures(results: Results) -> tuple[Measure, ...]:
    pairs = (
        results.scores.group_by(["metric", "protocol"], use_threads=False).aggregate([]).to_pylist()
    )
    names = list(results.metrics)
    found = [(p["metric"], p["protocol"]) for p in pairs if p["metric"] in results.metrics]
    found.sort(key=lambda pair: names.index(pair[0]))  # protocols as they were asked for
    measures = []
    for name, protocol in found:
        metric = results.metrics[name]
        heading = titles([(metric, protocol)])[0]
        measures.append(
            Measure(
                name,
                protocol,
                heading.rpartition(" ")[0],  # without the arrow
                metric.unit,
                metric.digits,
                metric.better == "higher",
                perceptual(metric),
                metric.doc,
            )
        )
    return tuple(measures)


def perceptual(metric: Metric) -> bool:
    """Whether a metric judges looks: no reference, deep features or groups of images."""
    return metric.name.startswith(_PERCEPTION) or not metric.reference


def _plain(column: Any) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
