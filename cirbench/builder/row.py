"""One row: read the HQ image, encode, check, decode, check, measure, store."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from .. import codecs, sources, tiles
from ..codecs import RGB, processes
from ..errors import CirbenchError, CodecError, InputError
from ..metrics.distortion import psnr_pair
from . import plan, store
from .journal import ImageRecord
from .once import Once
from .plan import Work

Value = TypeVar("Value")


@dataclass(frozen=True)
class Target:
    """Where and how rows are stored; the same for every row of a build.

    Attributes:
        root: the data set's folder.
        store: ``png``, ``bitstream`` or ``bitstream-only``.
        hq: ``ref`` (leave HQ images where they are), ``link`` or ``copy`` (into ``hq/<set>/``).
        recipe: name of the recipe that gives tasks their kinds and numbers.
        versions: (encoder, decoder) version by (codec, encoder) name.
        weights: SHA-256 of the weights by (codec, level, settings as JSON).
    """

    root: Path
    store: str
    hq: str
    recipe: str
    versions: dict[tuple[str, str], tuple[str, str]]
    weights: Mapping[tuple[str, str, str], str] = field(default_factory=dict)


@dataclass(frozen=True)
class RowResult:
    """What a worker sends back: the row, the image it came from, and what the row replaces."""

    row: dict[str, Any]
    image: ImageRecord | None
    replaces: str = ""


@dataclass(frozen=True)
class _Photo:
    """A decoded HQ photo, and the hashes of the tiles that were cut from it."""

    rgb: RGB
    sha256: str
    source_mode: str
    notes: tuple[str, ...]
    hashes: dict[tiles.Box, str] = field(default_factory=dict)

    def cut(self, box: tiles.Box | None, name: str) -> tuple[RGB, str]:
        """Pixels of a tile (None: of the whole photo) and their hash. Raises InputError."""
        if box is None:
            return self.rgb, self.sha256
        rgb = tiles.cut(self.rgb, box, name)
        if box not in self.hashes:
            self.hashes[box] = store.pixel_sha256(rgb)
        return rgb, self.hashes[box]


_photos: Once[_Photo] = Once(size=4)
"""The last few decoded photos; a photo is decoded once for all its tasks and tiles."""


def forget_images(keep: int) -> None:
    """Read every HQ image anew from here on; keep the last ``keep`` of them."""
    _photos.clear(keep)


def _photo(found: sources.Found, target: Target) -> _Photo:
    """The decoded photo. Raises InputError, every time, for one that cannot be used."""
    key = (found.file, found.size, found.mtime_ns, target.root, target.hq)
    return _photos.get(key, lambda: _load(found, target))


def _load(found: sources.Found, target: Target) -> _Photo:
    if found.problem:
        raise InputError(found.problem)
    image = sources.read(found.file)
    place_hq(found, target)
    return _Photo(image.rgb, store.pixel_sha256(image.rgb), image.source_mode, image.notes)


def place_hq(found: sources.Found, target: Target) -> None:
    """Have an HQ file in the data set as ``--hq link`` or ``copy`` wants it; ``ref`` wants nothing.

    A copy carries the time of its source, which tells whether it is still the same.
    """
    if target.hq == "ref":
        return
    relative = f"hq/{found.set}/{found.path}"
    place = store.inside(target.root, relative)
    try:
        if target.hq == "copy":
            there = place.lstat() if place.exists() and not place.is_symlink() else None
            if there is None or (there.st_size, there.st_mtime_ns) != (found.size, found.mtime_ns):
                store.write(target.root, relative, found.file.read_bytes())
                os.utime(place, ns=(found.mtime_ns, found.mtime_ns))
        elif not place.is_symlink() or place.readlink() != found.file.resolve():
            store.link(target.root, relative, found.file.resolve())
    except OSError as error:
        raise store.StoreError(
            f"cannot {target.hq} {found.file} to {place} ({error.strerror}); use --hq ref"
        ) from error


def hash_image(found: sources.Found, name: str) -> ImageRecord | InputError:
    """The journal's record of an HQ file, or why it cannot be used."""
    try:
        if found.problem:
            raise InputError(found.problem)
        rgb = sources.read(found.file).rgb
    except InputError as error:
        return error
    return _record(found, name, rgb, store.pixel_sha256(rgb))


def _record(found: sources.Found, name: str, photo: RGB, sha256: str) -> ImageRecord:
    height, width = photo.shape[:2]
    return ImageRecord(
        found.set, found.path, name, found.size, found.mtime_ns, sha256, width, height
    )


def make(work: Work, target: Target, refused: str = "") -> RowResult:
    """Make one row and write its files; where it is ``refused``, only the error row that says why.

    An unusable image, a failed encoder, a failed check or too little memory gives an error row.
    Raises StoreError when files cannot be written: then no further row can succeed either.
    """
    found, task = work.found, work.task
    row = _labels(work, target)
    try:
        photo = _photo(found, target)
        rgb, sha256 = photo.cut(work.box, found.path)
    except InputError as error:
        return unusable(work, str(error))
    except MemoryError:
        return unusable(work, f"{found.path}: {_NO_MEMORY}")
    height, width = rgb.shape[:2]
    row |= {
        "row_id": plan.row_id(found.set, found.path, work.tile, sha256, task),
        "content_id": plan.content_id(sha256, task),
        "hq_sha256": sha256,
        "photo_sha256": photo.sha256,
        "source_mode": photo.source_mode,
        "width": width,
        "height": height,
        "note": "; ".join(photo.notes) or None,
    }
    try:
        if refused:
            raise CodecError(refused)
        row |= _code(rgb, work, target, row["row_id"])
    except store.StoreError:
        raise
    except CirbenchError as error:
        row |= {"status": "error", "error": str(error)}
    except MemoryError:
        row |= {"status": "error", "error": f"{task.codec}: {_NO_MEMORY}"}
    if row["status"] == "warning":
        row["note"] = "; ".join((*photo.notes, "LQ equals HQ"))
    image = _record(found, work.name, photo.rgb, photo.sha256)
    return RowResult(row, image, replaces=plan.image_error_id(found.set, found.path))


_NO_MEMORY = "there was not enough memory; run the same command again with fewer --jobs"


def _labels(work: Work, target: Target) -> dict[str, Any]:
    """The columns known before anything is read."""
    found, task = work.found, work.task
    settings = task.settings
    encoder_version, decoder_version = target.versions[task.codec, settings["encoder"]]
    copied = ("chroma", "bit_depth", "matrix", "range", "conversion", "encoder", "threads")
    return {
        "set": found.set,
        "split": found.split,
        "recipe": target.recipe,
        "kind": task.kind,
        "task": task.key,
        "task_id": task.task_id,
        "codec": task.codec,
        "level": task.label,
        "level_value": task.level if isinstance(task.level, int) else None,
        "variant": task.variant,
        "settings": task.settings_json,
        "hq_root": found.set,
        "hq_path": found.path,
        "tile": work.tile or None,
        "preset": settings.get("preset"),
        "encoder_version": encoder_version,
        "decoder_version": decoder_version,
        "device": settings.get("device", "cpu"),
        **{name: settings.get(name) for name in copied},
    }


def unusable(work: Work, why: str) -> RowResult:
    """The one error row of an image that cannot be used; the same for all its tasks."""
    found = work.found
    row = {
        "row_id": plan.image_error_id(found.set, found.path),
        "set": found.set,
        "split": found.split,
        "kind": "other",
        "hq_root": found.set,
        "hq_path": found.path,
        "status": "error",
        "error": why,
    }
    return RowResult(row, None)


def _is_decoded(codec: codecs.Codec, row_id: str) -> bool:
    """Slow decoders would cost more than all else: one row in 16 is decoded, whoever builds it."""
    return codec.decode_cost == "fast" or row_id[0] == "0"


def _timed(call: Callable[[], Value]) -> tuple[Value, float]:
    """(result, seconds) of a codec at work; one that hung or was killed gets a second try."""

    def timed() -> tuple[Value, float]:
        start = time.perf_counter()
        return call(), time.perf_counter() - start

    return processes.twice(timed)


def _code(rgb: RGB, work: Work, target: Target, row_id: str) -> dict[str, Any]:
    """Encode, check, decode, check, measure and store; the columns that come of it."""
    task, codec = work.task, codecs.get(work.task.codec)
    size = (rgb.shape[0], rgb.shape[1])
    coded, encode_seconds = _timed(lambda: codec.encode(rgb, task.level, task.settings))
    decode_seconds = None
    if coded.reconstruction is not None and not _is_decoded(codec, row_id):
        lq = coded.reconstruction
    else:
        lq, decode_seconds = _timed(lambda: codec.decode(coded.bitstream, size, task.settings))
    codec.check_level(coded.bitstream, task.level, task.settings)
    if lq.shape != rgb.shape:
        raise CodecError(
            f"{task.codec} decoded to {lq.shape[1]}x{lq.shape[0]}, not {size[1]}x{size[0]}"
        )
    if coded.reconstruction is not None and not (coded.reconstruction == lq).all():
        raise CodecError(f"{task.codec}'s decoder and its encoder's reconstruction differ")
    psnr_rgb, psnr_y = psnr_pair(rgb, lq)
    where = (task.codec, task.label, task.variant, *work.place)
    columns: dict[str, Any] = {
        "bitstream_path": store.bitstream_path(*where, codec.extension),
        "bitstream_sha256": store.sha256(coded.bitstream),
        "bitstream_bytes": len(coded.bitstream),
        "bpp": 8 * len(coded.bitstream) / (size[0] * size[1]),
        "lq_sha256": store.pixel_sha256(lq),
        "encoder_args": coded.args,
        "weights": coded.weights[0] if coded.weights else None,
        "weights_sha256": coded.weights[1] if coded.weights else None,
        "psnr_rgb": psnr_rgb,
        "psnr_y": psnr_y,
        "status": "ok",
        "encode_seconds": encode_seconds,
        "decode_seconds": decode_seconds,
    }
    if store.keeps_pixels(target.store, codec):
        columns["lq_path"] = store.lq_path(*where)
        png = store.encode_png(lq)
        columns["lq_bytes"] = len(png)
        store.write(target.root, columns["lq_path"], png)
    store.write(target.root, columns["bitstream_path"], coded.bitstream)
    if math.isinf(psnr_rgb):  # legal, a flat tile does it, but worth a look
        columns["status"] = "warning"
    return columns
