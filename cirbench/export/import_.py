"""Rebuild a data set from its bitstreams in tar shards; trust nothing that they say.

Every member must be one that the manifest lists, no larger than it says, with the hash it says.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from .. import manifest
from ..builder import plan, store
from ..errors import CirbenchError, InputError
from ..manifest import Manifest
from . import layout, stream, webdataset
from .target import FORMAT_VERSION, MARKER, Target, fresh

_LONGEST = 1024  # characters of a member's name; exports keep them below 300
_FOLDERS = {"bitstream": "bitstreams/", "lq": "lq/", "hq": "hq/"}


@dataclass(frozen=True)
class _Expected:
    """What the manifest says of one member: where it goes and what it must be.

    A tile's HQ goes nowhere (``path`` is empty): the photo that the manifest names is not there.
    """

    kind: str
    path: str
    sha256: str
    bytes: int
    size: tuple[int, int]


def import_(
    src: str | Path, out: str | Path, *, decode: bool = False, jobs: int | None = None
) -> int:
    """Make the data set that an export of bitstreams came from, and check every hash.

    The manifest is the export's, byte for byte. LQ images that it lists are decoded again (those
    of slow codecs are in the export). HQ images come as PNG under their old names in ``hq/``.

    Args:
        src: a folder made by ``cirbench export --format webdataset --content bitstream``.
        out: the data set's folder; missing or empty.
        decode: decode every bitstream, also those whose pixels are not stored, and compare.
        jobs: bitstreams decoded at a time; None is one per core.

    Returns:
        The number of rows.

    Raises CirbenchError when ``src`` is no such export, something is missing, altered or not
    listed, or a bitstream decodes to other pixels than recorded; ``out`` is then as before.
    """
    src, out = Path(src), Path(out)
    with_hq = _check_marker(src)
    parts = _check_sums(src)
    data = Manifest.open(src).usable
    expected = _expected(data.table, with_hq)
    with fresh(out, replace=False) as target:
        for part in parts:
            target.copy(src / part, part)
        _unpack(src, expected, target)
        _decode(Manifest.open(target.root), target, decode, jobs)
    return len(data)


def _check_marker(src: Path) -> bool:
    """Whether the export has HQ images. Raises CirbenchError when it is none of bitstreams."""
    path = src / MARKER
    try:
        about = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CirbenchError(f"{src} is no export of cirbench ({MARKER}: {error})") from error
    if not isinstance(about, dict) or about.get("cirbench_export") != FORMAT_VERSION:
        raise CirbenchError(f"{path} is of another version; use the cirbench that made it")
    if (about.get("format"), about.get("content")) != ("webdataset", "bitstream"):
        raise CirbenchError(
            f"{src} holds no bitstreams; export with --format webdataset --content bitstream"
        )
    return about.get("hq") is True


def _check_sums(src: Path) -> list[str]:
    """The manifest's files, each as its checksum says."""
    names = []
    path = src / manifest.SUMS_NAME
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines:
            digest, _, name = line.partition("  ")
            names.append(name)
            if name not in (manifest.FILE_NAME, manifest.TIMINGS_NAME):
                raise CirbenchError(f"{path} lists {name!r}, which is no manifest; refused")
            if store.file_sha256(src / name) != digest:
                raise CirbenchError(f"{src / name} is not the file {path.name} was made from")
    except (OSError, UnicodeDecodeError) as error:
        raise CirbenchError(f"{src} is incomplete ({error}); get it again") from error
    return [*names, manifest.SUMS_NAME]


def _expected(table: pa.Table, with_hq: bool) -> dict[str, _Expected | None]:
    """Every member by name; None for the ``json`` ones, which are not needed."""
    names = layout.image_names(table)
    members: dict[str, _Expected | None] = {}
    paths: set[str] = set()

    def add(row: Mapping[str, Any], kind: str, path: str, sha256: str, limit: int) -> None:
        if path:
            _check_path(path, kind)
            if path.casefold() in paths:
                raise CirbenchError(f"{manifest.FILE_NAME} names {path!r} twice; refused")
            paths.add(path.casefold())
        key = names[layout.image_key(row)]
        size = (row["width"], row["height"])
        members[f"{key}.json"] = None
        members[f"{key}.{webdataset.member(row, kind)}"] = _Expected(
            kind, path, sha256, limit, size
        )

    last = None
    for row in layout.rows(layout.ordered(table)):
        _check_row_id(row)
        pixels = row["width"] * row["height"] * 3
        largest = pixels + pixels // 100 + row["height"] + 4096  # a PNG that saves nothing
        if with_hq and layout.image_key(row) != last:
            last = layout.image_key(row)
            path = "" if row["tile"] else f"hq/{row['hq_root']}/{row['hq_path']}"
            add(row, "hq", path, row["hq_sha256"], largest)
        coded = (row["bitstream_path"], row["bitstream_sha256"], row["bitstream_bytes"])
        add(row, "bitstream", *coded)
        if stream.has_png(row, "bitstream"):
            add(row, "lq", row["lq_path"], row["lq_sha256"], largest)
    return members


def _check_path(path: str, kind: str) -> None:
    """No manifest may put a file in place of, say, ``roots.toml``."""
    if not path.startswith(_FOLDERS[kind]):
        raise CirbenchError(f"{manifest.FILE_NAME} puts a file at {path!r}; refused")


def _check_row_id(row: Mapping[str, Any]) -> None:
    try:
        right = plan.recorded_row_id(row)
    except CirbenchError:
        right = ""
    if row["row_id"] != right:
        raise CirbenchError(f"{manifest.FILE_NAME}: row {row['row_id']} does not fit its columns")


def _unpack(src: Path, expected: Mapping[str, _Expected | None], target: Target) -> None:
    seen: set[str] = set()
    bar = tqdm(total=len(expected), desc="import", disable=None)
    with bar:
        for shard in sorted(src.glob("*.tar")):
            for name, content in _members(shard, expected, seen):
                one = expected[name]
                if one is not None:
                    _check(shard, name, content, one)
                    if one.path:
                        target.put(one.path, content, one.kind)
                bar.update()
    missing = [name for name in expected if name not in seen]
    if missing:
        raise CirbenchError(
            f"{src} lacks {len(missing)} of {len(expected)} members, first {missing[0]!r}; "
            "is every shard there?"
        )


def _members(
    shard: Path, expected: Mapping[str, _Expected | None], seen: set[str]
) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of a shard's members, each refused before a byte of it is read."""
    try:
        with tarfile.open(shard, "r:") as tar:
            while (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]
                why = _refusal(info, expected, seen)
                if why:
                    raise CirbenchError(f"{shard} holds {info.name!r}, {why}; refused")
                seen.add(info.name)
                one = expected[info.name]
                file = tar.extractfile(info) if one is not None else None
                content = file.read() if file else b""
                if len(content) != (info.size if one is not None else 0):
                    raise CirbenchError(f"{shard} ends in the middle of {info.name!r}")
                yield info.name, content
    except CirbenchError:
        raise
    except Exception as error:  # tarfile's own parser of headers is not choosy
        raise CirbenchError(f"{shard} is damaged or no tar file ({error})") from error


def _refusal(
    info: tarfile.TarInfo, expected: Mapping[str, _Expected | None], seen: set[str]
) -> str:
    """Why a member is not taken; empty when it is."""
    path = PurePosixPath(info.name)
    if len(info.name) > _LONGEST or info.size < 0:
        return "which is no member of an export"
    if info.issym() or info.islnk():
        return f"a link to {info.linkname!r}"
    if not info.isreg() or info.issparse():
        return "which is no plain file"
    if path.is_absolute() or ".." in path.parts:
        return "which leaves its folder"
    if info.name not in expected:
        return "which its manifest does not list"
    if info.name in seen:
        return "twice"
    one = expected[info.name]
    if one is None:
        return ""
    fits = info.size == one.bytes if one.kind == "bitstream" else info.size <= one.bytes
    return "" if fits else f"of {info.size} bytes where its manifest says {one.bytes}"


def _check(shard: Path, name: str, content: bytes, one: _Expected) -> None:
    """Compare a member with its hash; an image's size before its pixels are decoded."""
    where = f"{shard}: {name}"
    if one.kind == "bitstream":
        if store.sha256(content) != one.sha256:
            raise InputError(f"{where} is not what its manifest says (sha256 differs)")
        return
    said = (int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big"))
    if said != one.size:
        raise InputError(f"{where} is {said[0]}x{said[1]}, its manifest says other sizes; refused")
    if store.pixel_sha256(store.decode_png(content, where)) != one.sha256:
        raise InputError(f"{where} has other pixels than its manifest says (sha256 differs)")


def _decode(data: Manifest, target: Target, everything: bool, jobs: int | None) -> None:
    """Write the LQ images that the manifest lists and no shard holds; the rest is only decoded,
    and only with ``everything``. Raises InputError for other pixels than recorded.
    """
    usable = data.usable

    def lacks(row: Mapping[str, Any]) -> bool:
        return bool(row["lq_path"]) and not stream.has_png(row, "bitstream")

    kinds = layout.rows(usable.table.select(["codec", "lq_path"]))
    total = sum(everything or lacks(row) for row in kinds)
    todo = (row for row in layout.rows(usable.table) if everything or lacks(row))
    bar = tqdm(total=total, desc="decode", disable=None)
    with bar:
        for row, rgb in stream.ordered(lambda row: data.lq(row, stored=False), todo, jobs):
            if lacks(row):
                _check_path(row["lq_path"], "lq")
                target.put(row["lq_path"], store.encode_png(rgb), "lq")
            bar.update()
