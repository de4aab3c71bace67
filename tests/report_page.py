"""What the tests of ``report.html`` share: hostile names and results made without an evaluator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pyarrow as pa
from conftest import crop

from cirbench import Manifest, metrics
from cirbench.evaluation.results import LQ, Results
from cirbench.evaluation.schema import FROM_MANIFEST, SCORES_SCHEMA
from cirbench.metrics import protocol

NAME = "<img src=x onerror=alert(1)>.png"
MODEL = '<b title="x">model & co</b>'
_SCORED = (("psnr", "native-y"), ("psnr", "native-rgb"), ("gmsd", "native-rgb"))


def write_photos(folder: Path) -> None:
    """Three photos: one with a name that is markup, one larger than the report's crops."""
    folder.mkdir()
    for name, photo, size in (
        (NAME, "chelsea.png", (64, 96)),
        ("wide.png", "coffee.png", (200, 420)),
        ("tall.png", "astronaut.png", (300, 260)),
    ):
        (folder / name).write_bytes(imagecodecs.png_encode(crop(photo, size)))


def fake_results(folder: Path, models: tuple[str, ...]) -> Results:
    """Results as the evaluator makes them; a "model" averages each pixel with its neighbour."""
    manifest = Manifest.open(folder).usable

    def restored(model: str, row: Mapping[str, Any]) -> np.ndarray:
        lq = manifest.lq(row)
        if model == LQ:
            return lq
        mixed = 3 * lq.astype(np.uint16) + np.roll(lq, 1, axis=1)
        return (mixed // 4).astype(np.uint8)

    rows = []
    for row in manifest:
        for metric, name in _SCORED:
            prepare = protocol.get(name).prepare
            hq = prepare(manifest.hq(row))
            for model in models:
                value = metrics.get(metric).score([prepare(restored(model, row))], hq, {})
                own = {"model": model, "metric": metric, "protocol": name, "protocol_version": 1}
                facts = {key: row[key] for key in ("row_id", *FROM_MANIFEST)}
                rest = {"checkpoint": "", "value": float(value[0]), "cirbench_version": "0"}
                rows.append(facts | own | rest)
    return Results(
        manifest=manifest,
        scores=pa.Table.from_pylist(rows, SCORES_SCHEMA),
        models=models,
        restored=restored,
        metrics={name: metrics.get(name) for name, _ in _SCORED},
        problems=[],
        provenance={"command": f"cirbench eval --name '{MODEL}'"},
    )
