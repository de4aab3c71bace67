"""What can be scored: the LQ itself, a restorer with its cached outputs, a folder of outputs."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from ..builder import store
from ..codecs.base import RGB
from ..errors import CirbenchError, InputError
from ..manifest import Manifest
from ..models import restorer as registry
from ..models.restorer import Batch, Info, Restorer, restore_rgb, seed_of
from . import outputs
from .match import Matched, place
from .results import LQ

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """One model to score.

    Attributes:
        label: its name in tables and in the column ``model``.
        checkpoint: SHA-256 of its checkpoint, or "".
        source: what decides its pixels for a row, as a text; another text, another score.
        reader: of a row gives what reads its output, uint8 (H, W, 3), of any size, or raises
            InputError; small enough for another process.
        restore: make and keep what ``reader`` reads, for methods that have to; else None.
        parallel: ``restore`` may be called from several threads.
        problems: what is known to be wrong with single rows, by row id.
        details: for the provenance.
        loads: the share of tokens that chose each prompt, (B, N) per scale, of LQ images
            float32 (B, 3, H, W), for restorers with a router; else None.
        order: of a row gives what another process has to do for ``restore``, None when its output
            is there.
        made: notes that it was done.
    """

    label: str
    checkpoint: str
    source: Callable[[Row], str]
    reader: Callable[[Row], Callable[[], RGB]]
    restore: Callable[[Row], None] | None
    parallel: bool
    problems: Mapping[str, str]
    details: str
    loads: Callable[[Batch], Sequence[Batch]] | None = None
    order: Callable[[Row], Callable[[], None] | None] | None = None
    made: Callable[[Row], None] | None = None

    def pixels(self, row: Row) -> RGB:
        """Its output for a row, uint8 (H, W, 3), of any size. Raises InputError."""
        return self.reader(row)()


def unrestored(manifest: Manifest) -> Method:
    """The LQ as it is."""
    lq = manifest.reader().lq

    def reader(row: Row) -> Callable[[], RGB]:
        return partial(lq, row)

    def source(row: Row) -> str:
        return _lq_source(manifest, row)

    return Method(LQ, "", source, reader, None, True, {}, "the unrestored input")


def _lq_source(manifest: Manifest, row: Row) -> str:
    """What decides the LQ pixels: with ``--on-mismatch warn`` also who decodes them here."""
    sha256 = str(row["lq_sha256"])
    if manifest.on_mismatch == "error" or row["lq_path"]:
        return sha256
    return f"{sha256} decoded by {manifest.decoder(row)}"


def folder(label: str, manifest: Manifest, root: Path, matched: Matched) -> Method:
    """Outputs that someone else made; a file that changes is scored again."""

    def source(row: Row) -> str:
        path = matched.paths[row["row_id"]]
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"{path.name} cannot be read: {error.strerror}") from error
        where = path.relative_to(root) if path.is_relative_to(root) else path
        return f"{root.resolve()}/{where} {status.st_size} {status.st_mtime_ns} {row['lq_sha256']}"

    lq = manifest.reader()

    def reader(row: Row) -> Callable[[], RGB]:
        return partial(_read_output, matched.paths[row["row_id"]].absolute(), lq, row)

    return Method(label, "", source, reader, None, True, matched.problems, str(root))


def _read_output(path: Path, manifest: Manifest, row: Row) -> RGB:
    rgb, grey = outputs.read(path)
    # A grey photo may come back grey, and so may one whose LQ lost its colours.
    if (grey or outputs.is_grey(rgb)) and not outputs.is_grey(manifest.lq(row)):
        raise InputError(f"{path.name} is grey, its HQ and LQ are in colour")
    return rgb


def cached(
    label: str,
    manifest: Manifest,
    restorer: Restorer,
    same: Same,
    out: Path,
    known: Callable[[str], str],
    remember: Callable[[str, str], None],
) -> Method:
    """A restorer whose outputs are kept as PNGs in ``out/restored/<label>``.

    Args:
        label: name in tables, and of the folder (with the start of the checkpoint's hash).
        manifest: gives LQ pixels.
        restorer: runs once per row.
        same: how another process gets the same one.
        out: the evaluation's folder.
        known: what a cached file, by its path below ``out``, was made from; "" when there is none.
        remember: records that.
    """
    info = restorer.info()
    top = f"restored/{folder_name(label, info)}"

    def path(row: Row) -> str:
        level, name = place(row)
        return f"{top}/{row['codec']}/{level}/{row['set']}/{name}.png"

    def source(row: Row) -> str:
        return f"{_lq_source(manifest, row)} {info.name} {info.checkpoint} {info.version}"

    reads, root = manifest.reader(), out.absolute()

    def is_there(row: Row) -> bool:
        return known(path(row)) == source(row) and _is_intact(out / path(row))

    def restore(row: Row) -> None:
        if not is_there(row):
            _make(restorer, reads, row, out, path(row))
            made(row)

    def order(row: Row) -> Callable[[], None] | None:
        return None if is_there(row) else partial(_make, same, reads, row, root, path(row))

    def made(row: Row) -> None:
        remember(path(row), source(row))

    def reader(row: Row) -> Callable[[], RGB]:
        return partial(_read_made, root / path(row))

    details = f"{info.name}, {info.parameters} parameters, {info.version}".rstrip(", ")
    details += f", from {same.checkpoint}" if same.checkpoint else ""
    return Method(
        label,
        info.checkpoint,
        source,
        reader,
        restore,
        info.thread_safe,
        {},
        details,
        getattr(restorer, "loads", None),
        order,
        made,
    )


@dataclass(frozen=True)
class Same:
    """How another process gets a restorer, and what that one has to be.

    Attributes:
        name, checkpoint, device, options: as for :func:`cirbench.models.restorer.get`.
        info: what it has to say of itself.
    """

    name: str
    checkpoint: Path | None
    device: str | None
    options: tuple[tuple[str, Any], ...]
    info: Info


@lru_cache(maxsize=2)
def _get(same: Same) -> tuple[Restorer, threading.Lock]:
    """The restorer, and what those that are not thread-safe are used under."""
    restorer = registry.get(same.name, same.checkpoint, same.device, dict(same.options))
    if restorer.info() != same.info:
        raise CirbenchError(
            f"the restorer {same.name!r} on the worker {socket.gethostname()} is another one than "
            f"here ({restorer.info()}, not {same.info}); install the same on both"
        )
    return restorer, threading.Lock()


def _make(one: Restorer | Same, manifest: Manifest, row: Row, out: Path, kept: str) -> None:
    """Restore one row into ``out/kept``."""
    lq, seed = manifest.lq(row), seed_of(row["row_id"])
    if isinstance(one, Same):
        restorer, lock = _get(one)
        with nullcontext() if one.info.thread_safe else lock:
            rgb = restore_rgb(restorer, lq, seed)
    else:
        rgb = restore_rgb(one, lq, seed)
    store.write(out, kept, store.encode_png(rgb))


def _read_made(file: Path) -> RGB:
    try:
        return store.decode_png(file.read_bytes(), str(file))
    except OSError as error:
        raise InputError(f"cannot read {file} ({error.strerror})") from error


def _is_intact(file: Path) -> bool:
    try:
        return store.png_is_intact(file.read_bytes())
    except OSError:
        return False


def folder_name(label: str, info: Info) -> str:
    """Where a restorer's outputs lie below ``restored``."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "_", label).lstrip(".") or "model"
    return f"{slug}-{info.checkpoint[:8]}" if info.checkpoint else slug


def check_labels(methods: list[Method]) -> None:
    """Raise CirbenchError when two methods share a name."""
    labels = [folder_name(method.label, Info("")).casefold() for method in methods]
    for label in labels:
        if labels.count(label) > 1:
            raise CirbenchError(f"two models would be called {label!r}; name yours with --name")
