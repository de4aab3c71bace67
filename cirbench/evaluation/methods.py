"""What can be scored: the LQ itself, a restorer with its cached outputs, a folder of outputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..builder import store
from ..codecs.base import RGB
from ..errors import CirbenchError, InputError
from ..manifest import Manifest
from ..models.restorer import Info, Restorer, restore_rgb, seed_of
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
        pixels: its output for a row, uint8 (H, W, 3), of any size. Raises InputError.
        restore: make and keep what ``pixels`` reads, for methods that have to; else None.
        parallel: ``restore`` may be called from several threads.
        problems: what is known to be wrong with single rows, by row id.
        notes: remarks about the method as a whole.
        details: for the provenance.
    """

    label: str
    checkpoint: str
    source: Callable[[Row], str]
    pixels: Callable[[Row], RGB]
    restore: Callable[[Row], None] | None
    parallel: bool
    problems: Mapping[str, str]
    notes: tuple[str, ...]
    details: str


def unrestored(manifest: Manifest) -> Method:
    """The LQ as it is."""
    return Method(LQ, "", _lq_source, manifest.lq, None, True, {}, (), "the unrestored input")


def _lq_source(row: Row) -> str:
    return str(row["lq_sha256"])


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

    def pixels(row: Row) -> RGB:
        path = matched.paths[row["row_id"]]
        rgb, grey = outputs.read(path)
        # A grey photo may come back grey, and so may one whose LQ lost its colours.
        if (grey or outputs.is_grey(rgb)) and not outputs.is_grey(manifest.lq(row)):
            raise InputError(f"{path.name} is grey, its HQ and LQ are in colour")
        return rgb

    notes = tuple(matched.notes)
    return Method(label, "", source, pixels, None, True, matched.problems, notes, str(root))


def cached(
    label: str,
    manifest: Manifest,
    restorer: Restorer,
    out: Path,
    known: Callable[[str], str],
    remember: Callable[[str, str], None],
) -> Method:
    """A restorer whose outputs are kept as PNGs in ``out/restored/<label>``.

    Args:
        label: name in tables, and of the folder (with the start of the checkpoint's hash).
        manifest: gives LQ pixels.
        restorer: runs once per row.
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
        return f"{row['lq_sha256']} {info.checkpoint} {info.version}"

    def restore(row: Row) -> None:
        kept = path(row)
        if known(kept) == source(row) and _is_intact(out / kept):
            return
        rgb = restore_rgb(restorer, manifest.lq(row), seed_of(row["row_id"]))
        store.write(out, kept, store.encode_png(rgb))
        remember(kept, source(row))

    def pixels(row: Row) -> RGB:
        file = out / path(row)
        try:
            return store.decode_png(file.read_bytes(), str(file))
        except OSError as error:
            raise InputError(f"cannot read {file} ({error.strerror})") from error

    details = f"{info.name}, {info.parameters} parameters, {info.version}".rstrip(", ")
    return Method(
        label, info.checkpoint, source, pixels, restore, info.thread_safe, {}, (), details
    )


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
