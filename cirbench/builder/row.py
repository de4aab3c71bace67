"""One row: read the HQ image, encode, check, decode, check, measure, store."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import codecs, sources
from ..codecs import RGB
from ..errors import CirbenchError, CodecError, InputError
from ..metrics.distortion import psnr_pair
from . import plan, store
from .journal import ImageRecord
from .plan import Work


@dataclass(frozen=True)
class Target:
    """Where and how rows are stored; the same for every row of a build.

    Attributes:
        root: the data set's folder.
        store: ``png``, ``bitstream`` or ``bitstream-only``.
        hq: ``ref`` (leave HQ images where they are), ``link`` or ``copy`` (into ``hq/<set>/``).
        recipe: name of the recipe that gives tasks their kinds and numbers.
        versions: (encoder, decoder) version by (codec, encoder) name.
    """

    root: Path
    store: str
    hq: str
    recipe: str
    versions: dict[tuple[str, str], tuple[str, str]]


@dataclass(frozen=True)
class Result:
    """What a worker sends back: the row, the image it came from, and what the row replaces."""

    row: dict[str, Any]
    image: ImageRecord | None
    replaces: str = ""


@dataclass(frozen=True)
class _HQ:
    rgb: RGB
    sha256: str
    source_mode: str
    notes: tuple[str, ...]


class _HQCache:
    """The last few decoded HQ images; a photo is decoded once for all its tasks.

    Threads that want an image another thread is reading wait for it instead of reading it again.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._images: OrderedDict[tuple[Any, ...], Future[_HQ]] = OrderedDict()

    def get(self, found: sources.Found, target: Target) -> _HQ:
        """The decoded image. Raises InputError, every time, for one that cannot be used."""
        key = (found.file, found.size, found.mtime_ns, target.root, target.hq)
        with self._lock:
            future = self._images.get(key)
            mine = future is None
            if future is None:
                future = self._images[key] = Future()
                while len(self._images) > self._size:
                    self._images.popitem(last=False)
        if mine:
            try:
                future.set_result(_load(found, target))
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def clear(self, size: int) -> None:
        """Forget all images; keep the last ``size`` from now on."""
        with self._lock:
            self._size = size
            self._images.clear()


_cache = _HQCache(size=4)


def forget_images(keep: int) -> None:
    """Read every HQ image anew from here on; keep the last ``keep`` of them."""
    _cache.clear(keep)


def _load(found: sources.Found, target: Target) -> _HQ:
    if found.problem:
        raise InputError(found.problem)
    image = sources.read(found.file)
    place_hq(found, target)
    return _HQ(image.rgb, store.pixel_sha256(image.rgb), image.source_mode, image.notes)


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
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            place.symlink_to(found.file.resolve())
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


def _record(found: sources.Found, name: str, rgb: RGB, sha256: str) -> ImageRecord:
    height, width = rgb.shape[:2]
    return ImageRecord(
        found.set, found.path, name, found.size, found.mtime_ns, sha256, width, height
    )


def make(work: Work, target: Target) -> Result:
    """Make one row and write its files.

    An unusable image, a failed encoder or a failed check gives an error row. Raises StoreError
    when files cannot be written: then no further row can succeed either.
    """
    found, task = work.found, work.task
    row = _labels(work, target)
    try:
        hq = _cache.get(found, target)
    except InputError as error:
        return Result(_unusable(work, str(error)), None)
    height, width = hq.rgb.shape[:2]
    row |= {
        "row_id": plan.row_id(found.set, found.path, "", hq.sha256, task),
        "content_id": plan.content_id(hq.sha256, task),
        "hq_sha256": hq.sha256,
        "source_mode": hq.source_mode,
        "width": width,
        "height": height,
        "note": "; ".join(hq.notes) or None,
    }
    try:
        row |= _code(hq.rgb, work, target, row["row_id"])
    except store.StoreError:
        raise
    except CirbenchError as error:
        row |= {"status": "error", "error": str(error)}
    if row["status"] == "warning":
        row["note"] = "; ".join((*hq.notes, "LQ equals HQ"))
    image = _record(found, work.name, hq.rgb, hq.sha256)
    return Result(row, image, replaces=plan.image_error_id(found.set, found.path))


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
        "preset": settings.get("preset"),
        "encoder_version": encoder_version,
        "decoder_version": decoder_version,
        "device": settings.get("device", "cpu"),
        **{name: settings.get(name) for name in copied},
    }


def _unusable(work: Work, why: str) -> dict[str, Any]:
    """The one error row of an image that cannot be used; the same for all its tasks."""
    found = work.found
    return {
        "row_id": plan.image_error_id(found.set, found.path),
        "set": found.set,
        "split": found.split,
        "kind": "other",
        "hq_root": found.set,
        "hq_path": found.path,
        "status": "error",
        "error": why,
    }


def _is_decoded(codec: codecs.Codec, row_id: str) -> bool:
    """Slow decoders would cost more than all else: one row in 16 is decoded, whoever builds it."""
    return codec.decode_cost == "fast" or row_id[0] == "0"


def _code(rgb: RGB, work: Work, target: Target, row_id: str) -> dict[str, Any]:
    """Encode, check, decode, check, measure and store; the columns that come of it."""
    task, codec = work.task, codecs.get(work.task.codec)
    size = (rgb.shape[0], rgb.shape[1])
    start = time.perf_counter()
    coded = codec.encode(rgb, task.level, task.settings)
    encoded = time.perf_counter()
    decode_seconds = None
    if coded.reconstruction is not None and not _is_decoded(codec, row_id):
        lq = coded.reconstruction
    else:
        lq = codec.decode(coded.bitstream, size, task.settings)
        decode_seconds = time.perf_counter() - encoded
    codec.check_level(coded.bitstream, task.level, task.settings)
    if lq.shape != rgb.shape:
        raise CodecError(
            f"{task.codec} decoded to {lq.shape[1]}x{lq.shape[0]}, not {size[1]}x{size[0]}"
        )
    if coded.reconstruction is not None and not (coded.reconstruction == lq).all():
        raise CodecError(f"{task.codec}'s decoder and its encoder's reconstruction differ")
    psnr_rgb, psnr_y = psnr_pair(rgb, lq)
    where = (task.codec, task.label, task.variant, work.found.set, work.name)
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
        "encode_seconds": encoded - start,
        "decode_seconds": decode_seconds,
    }
    if store.keeps_pixels(target.store, codec):
        columns["lq_path"] = store.lq_path(*where)
        store.write(target.root, columns["lq_path"], store.encode_png(lq))
    store.write(target.root, columns["bitstream_path"], coded.bitstream)
    if math.isinf(psnr_rgb):  # legal, a flat tile does it, but worth a look
        columns["status"] = "warning"
    return columns
