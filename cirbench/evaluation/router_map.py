"""Which prompts a model's router chooses for each task: ``router.parquet`` and ``router.png``.

Only for restorers that offer ``loads`` (docs/evaluate.md). Diagnostic: it enters no score.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from .. import __version__, codecs, parquet
from ..builder import store
from ..codecs.base import RGB
from ..errors import CodecError, InputError
from ..manifest import Manifest
from ..schema import arrow_schema, columns
from .methods import Method, Row
from .tables import KINDS

TABLE, PICTURE = "router.parquet", "router.png"
PHOTOS = 10
"""At most so many images of each task and set; the same ones for all tasks."""

SIDE = 256
"""Their middle, at most so many pixels high and wide."""

_TEXT = """
task        str    codec-level, e.g. "jpeg-qf10".
codec       str    jpeg, webp, hevc, vvc, avc, c_psnr, c_ssim or hific.
level       str    The codec's operating point: "qf10", "qp37", "q2", "low".
variant     str    "" for the codec's default settings, else what differs: "preset=fast".
kind        str    "seen", "cross-degree", "cross-type" or "other", with respect to the recipe.
set         str    Name of the collection of HQ images.
model       str    The model's name in this evaluation.
checkpoint  str    SHA-256 of its checkpoint.
scale       int    Scale of the router: its features are 1 / 2^scale as high as the latents.
prompt      int    Number of the prompt, from 0.
share       float  Share of tokens that chose the prompt, 0 to 1; each chooses K, the sum of all.
images      int    The mean is over so many images: the middle 256x256 pixels of each.
"""

SCHEMA = arrow_schema(columns(_TEXT))
"""One row per task, variant, set, scale and prompt."""

_GROUP = ("set", "codec", "variant", "kind", "task", "level")


@dataclass(frozen=True)
class RouterMap:
    """What became of the router's map.

    Attributes:
        picture: the PNG; b"" when there is none.
        remarks: sentences for the evaluation's problems.
    """

    picture: bytes = b""
    remarks: tuple[str, ...] = ()


def write(
    out: Path, rows: Sequence[Row], methods: Sequence[Method], manifest: Manifest
) -> RouterMap:
    """Write both files into ``out``, or remove what an earlier model left there.

    What is there already and was made from the same images by the same model is kept.

    Args:
        out: the evaluation's folder.
        rows: the manifest's rows that are evaluated.
        methods: the first that has ``loads`` is mapped.
        manifest: gives LQ pixels.
    """
    method = next((one for one in methods if one.loads), None)
    if method is None:
        return _remove(out)
    picked = choose(rows)
    key = _key(method, picked)
    table = _kept(out, key)
    if table is None:
        table = measure(picked, method, manifest)
        if not len(table):
            return _remove(out)
        (out / PICTURE).unlink(missing_ok=True)
        keyed = table.replace_schema_metadata({"cirbench": key})
        store.write(out, TABLE, parquet.content(keyed))
    if not (out / PICTURE).exists():
        if find_spec("matplotlib") is None:
            remark = f"{PICTURE} needs matplotlib; run: pip install matplotlib"
            return RouterMap(remarks=(remark,))
        from ..report import router_plot

        store.write(out, PICTURE, router_plot.draw(table))
    return RouterMap((out / PICTURE).read_bytes())


def files(out: Path) -> list[Path]:
    """Those of the two files that are there."""
    return [out / name for name in (TABLE, PICTURE) if (out / name).exists()]


def choose(rows: Sequence[Row], photos: int = PHOTOS) -> list[Row]:
    """At most ``photos`` rows of each set, task and variant, by the hash of their HQ pixels.

    So they are the same photos for every task, and spread over all of them.
    """
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (str(row["hq_sha256"]), str(row["row_id"]))):
        groups.setdefault(tuple(str(row[name]) for name in _GROUP), []).append(row)
    return [row for group in groups.values() for row in group[:photos]]


def measure(rows: Sequence[Row], method: Method, manifest: Manifest) -> pa.Table:
    """The shares of all rows that can be read, as :data:`SCHEMA` has them; empty without a router.

    Args:
        rows: see :func:`choose`.
        method: one with ``loads``.
        manifest: gives LQ pixels.

    Tasks come by set, codec, variant and kind, then by rising bpp.
    """
    assert method.loads is not None
    found: dict[tuple[str, ...], list[list[NDArray[Any]]]] = {}
    bpp: dict[tuple[str, ...], list[float]] = {}
    for row in tqdm(rows, unit="image", desc="router", disable=None, file=sys.stderr):
        group = tuple(str(row[name]) for name in _GROUP)
        try:
            lq = middle(manifest.lq(row))
        except (InputError, CodecError):
            continue  # scoring has named it already
        batch = np.moveaxis(lq, -1, 0)[None].astype(np.float32) / np.float32(255)
        found.setdefault(group, []).append([one[0] for one in method.loads(batch)])
        bpp.setdefault(group, []).append(float(row["bpp"]))
    names = codecs.names()

    def order(group: tuple[str, ...]) -> tuple[Any, ...]:
        name, codec, variant, kind, task, _ = group
        return name, names.index(codec), variant, KINDS.index(kind), np.mean(bpp[group]), task

    made: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for group in sorted(found, key=order):
        facts = dict(zip(_GROUP, group, strict=True))
        facts |= {"model": method.label, "checkpoint": method.checkpoint}
        images = found[group]
        for scale, shares in enumerate(zip(*images, strict=True)):
            mean = np.mean(np.stack(shares).astype(np.float64), axis=0)
            for prompt, share in enumerate(mean):
                own = {"scale": scale, "prompt": prompt, "share": share, "images": len(images)}
                for name, value in (facts | own).items():
                    made[name].append(value)
    return pa.table(made, schema=SCHEMA)


def middle(rgb: RGB, side: int = SIDE) -> RGB:
    """The middle ``side`` x ``side`` pixels, or less of a smaller image."""
    top, left = (max(length - side, 0) // 2 for length in rgb.shape[:2])
    return np.ascontiguousarray(rgb[top : top + side, left : left + side])


def _key(method: Method, rows: Sequence[Row]) -> str:
    """What the table depends on, as JSON for its metadata."""
    sources = "\n".join(f"{row['row_id']} {method.source(row)}" for row in rows)
    return json.dumps(
        {
            "cirbench_version": __version__,
            "model": method.label,
            "side": SIDE,
            "images_sha256": hashlib.sha256(sources.encode()).hexdigest(),
        }
    )


def _kept(out: Path, key: str) -> pa.Table | None:
    """The table of an earlier run, when it was made from the same."""
    try:
        with pa.OSFile(str(out / TABLE)) as file:
            table = pq.read_table(file)
        return table if (table.schema.metadata or {}).get(b"cirbench") == key.encode() else None
    except (OSError, pa.ArrowException):
        return None


def _remove(out: Path) -> RouterMap:
    for name in (TABLE, PICTURE):
        (out / name).unlink(missing_ok=True)
    return RouterMap()
