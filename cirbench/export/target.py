"""The folder an export goes to: complete, or not there at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .. import __version__
from ..builder import store
from ..errors import CirbenchError

MARKER = "export.json"
SUMS = "SHA256SUMS"
FORMAT_VERSION = 1


class Target:
    """A folder that is being written.

    Attributes:
        root: where it is for now.
        sums: SHA-256 of every finished file, by its relative path.
        bytes: bytes written, by kind (``hq``, ``lq``, ``bitstream``, ``shards``, ``metadata``).
        files: number of files, by kind.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sums: dict[str, str] = {}
        self.bytes: Counter[str] = Counter()
        self.files: Counter[str] = Counter()

    def put(self, relative: str, data: bytes, kind: str = "metadata") -> None:
        """Write one file. Raises StoreError when the disk is full or not ours to write."""
        with self.create(relative, kind) as file:
            file.write(data)

    @contextmanager
    def create(self, relative: str, kind: str = "metadata") -> Iterator[Hashing]:
        """A new file to write to; it counts once it is closed. Raises as :meth:`put`."""
        path = store.inside(self.root, relative)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                hashing = Hashing(file)
                yield hashing
        except OSError as error:
            raise store.StoreError(
                f"cannot write {path} ({error.strerror}); make room or choose another --out, "
                "then run the same command again"
            ) from error
        self.sums[relative] = hashing.sha256.hexdigest()
        self.bytes[kind] += hashing.size
        self.files[kind] += 1

    def copy(self, path: Path, relative: str, kind: str = "metadata") -> None:
        """Copy a file. Raises CirbenchError when it cannot be read, and as :meth:`put`."""
        try:
            source = path.open("rb")
        except OSError as error:
            raise CirbenchError(f"cannot read {path} ({error.strerror})") from error
        with source, self.create(relative, kind) as file:
            while block := source.read(1 << 20):
                file.write(block)

    def finish(self, description: Mapping[str, Any]) -> None:
        """Write ``export.json``, which marks the folder as ours, and ``SHA256SUMS``."""
        about = {"cirbench_export": FORMAT_VERSION, "cirbench_version": __version__}
        text = json.dumps(about | dict(description), indent=2, sort_keys=True) + "\n"
        self.put(MARKER, text.encode())
        lines = [f"{digest}  {name}\n" for name, digest in sorted(self.sums.items())]
        self.put(SUMS, "".join(lines).encode())


class Hashing:
    """A file opened for writing that hashes and counts what passes through."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> int:
        """Write all of ``data``."""
        self.sha256.update(data)
        self.size += len(data)
        return self._file.write(data)


@contextmanager
def fresh(out: Path, *, replace: bool) -> Iterator[Target]:
    """A folder beside ``out`` that takes its place when the block ends without an exception.

    Args:
        out: missing, an empty folder, or (with ``replace``) an earlier export and nothing else.

    Raises CirbenchError when ``out`` holds anything else, or another process is writing it.
    """
    out = out.expanduser().resolve()
    _check_free(out, replace)
    part = out.parent / f".{out.name}.part"
    if part.is_symlink():
        raise CirbenchError(f"{part} is a link; remove it or choose another --out")
    with store.lock(part):
        try:
            _clear(part)
            yield Target(part)
            (part / ".lock").unlink()
            _check_free(out, replace)
            _swap(part, out)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _clear(part: Path) -> None:
    """Remove what a killed run left."""
    for entry in part.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != ".lock":
            entry.unlink()


def _swap(part: Path, out: Path) -> None:
    old = out.parent / f".{out.name}.old"
    try:
        shutil.rmtree(old, ignore_errors=True)
        if out.exists():
            out.rename(old)
        part.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise store.StoreError(f"cannot put {out} into place ({error.strerror})") from error


def _check_free(out: Path, replace: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise CirbenchError(f"{out} is a file; choose another --out")
    found = {str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir()}
    if not found and not any(out.iterdir()):
        return
    if not replace:
        raise CirbenchError(f"{out} is not empty; choose another --out")
    if MARKER not in found:
        raise CirbenchError(f"{out} is not empty and no export of cirbench; choose another --out")
    others = sorted(found - _listed(out) - {SUMS})
    if others:
        raise CirbenchError(
            f"{out} also holds {others[0]!r}, which no export made; move it or choose another --out"
        )


def _listed(out: Path) -> set[str]:
    try:
        lines = (out / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return set()
    return {line.split("  ", 1)[1] for line in lines if "  " in line}
