"""The disk that data sets go to: is it writable, how much room, how fast."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from .finding import NOTE, OK, PROBLEM, Finding

PREFIX = ".cirbench-doctor-"
_BLOCK = os.urandom(1 << 20)  # random: a file system that compresses must work as with images
_BLOCKS = 64
_FILES = 200
_LITTLE_ROOM, _SLOW, _FEW_FILES = 5e9, 30e6, 100.0


def existing(folder: Path) -> Path:
    """``folder``, or the nearest folder above it that is there."""
    folder = folder.expanduser().absolute()
    return next(one for one in (folder, *folder.parents) if one.is_dir())


def check(place: Path) -> Iterator[Finding]:
    """Room, speed, and whether SQLite (the journal) works in the folder ``place``."""
    try:
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=place) as folder:
            yield _room(place)
            yield _speed(Path(folder))
            yield _journal(Path(folder))
    except OSError as error:
        todo = "give a folder you may write to with --out, or make room"
        yield Finding(PROBLEM, "disk", f"{place} cannot be written ({error.strerror})", todo)


def _room(place: Path) -> Finding:
    free = shutil.disk_usage(place).free
    text = f"{free / 1e9:.0f} GB free in {place}"
    if free < _LITTLE_ROOM:
        todo = (
            "cirbench build SOURCE --dry-run says what a build needs; --store bitstream needs least"
        )
        return Finding(NOTE, "disk", text, todo)
    return Finding(OK, "disk", text)


def _speed(folder: Path) -> Finding:
    """Megabytes of one file, and small files, per second: written through to the disk."""
    file, size = folder / "large", len(_BLOCK) * _BLOCKS
    start = time.perf_counter()
    with file.open("wb") as out:
        for _ in range(_BLOCKS):
            out.write(_BLOCK)
        out.flush()
        os.fsync(out.fileno())
        written = time.perf_counter() - start
        if hasattr(os, "posix_fadvise"):  # so that the disk is read, not the memory (Linux)
            os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    start = time.perf_counter()
    with file.open("rb") as back:
        while back.read(1 << 20):
            pass
    read = time.perf_counter() - start
    file.unlink()
    start = time.perf_counter()
    for number in range(_FILES):
        (folder / f"{number}").write_bytes(_BLOCK[:4096])
    files = _FILES / (time.perf_counter() - start)
    text = (
        f"writes {size / written / 1e6:.0f} MB/s, reads {size / read / 1e6:.0f} MB/s, "
        f"makes {files:.0f} small files/s"
    )
    if min(size / written, size / read) < _SLOW or files < _FEW_FILES:
        todo = "build on a local disk, with --store bitstream (a tenth of the bytes)"
        return Finding(NOTE, "disk speed", text, todo)
    return Finding(OK, "disk speed", text)


def _journal(folder: Path) -> Finding:
    """SQLite needs file locks, which some network file systems do not have."""
    try:
        with closing(sqlite3.connect(folder / "journal.sqlite", timeout=5)) as base, base:
            base.execute("CREATE TABLE row (id INTEGER)")
            base.execute("INSERT INTO row VALUES (1)")
    except sqlite3.Error as error:
        todo = "build on a local disk and copy the finished data set"
        return Finding(PROBLEM, "journal", f"SQLite does not work there ({error})", todo)
    return Finding(OK, "journal", f"SQLite {sqlite3.sqlite_version} works there")
