"""Find HQ images: what the sources on the command line are called, and which files they hold."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import CirbenchError
from .images import HQImage, read

__all__ = ["EXTENSIONS", "Found", "HQImage", "Source", "find", "parse_sources", "read"]

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
"""Extensions (lower case) of the files that are looked at; what they are, their content says."""


DATA_SET_FILES = ("journal.sqlite", "manifest.parquet")
"""What tells a data set's folder."""


@dataclass(frozen=True)
class Source:
    """One collection of HQ images.

    Attributes:
        set: its name in columns and folders.
        root: absolute path of the folder that ``hq_path`` is relative to.
        split: "", "train" or "test".
        files: only these, as (path relative to ``root``, split); empty: every image below
            ``root``.
    """

    set: str
    root: Path
    split: str
    files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """One file found, not yet read. A build holds one per photo: it is kept small.

    Attributes:
        path: POSIX path relative to the source's root, its Unicode as the file system has it.
        root: absolute path of that root.
        problem: one sentence naming the file when it cannot be used, else "".
        name: the path as the file system has it where ``path``, which is text, cannot be that.
    """

    set: str
    path: str
    root: Path
    split: str
    size: int
    mtime_ns: int
    problem: str = ""
    name: str = ""

    @property
    def file(self) -> Path:
        """Where the file is."""
        return self.root / (self.name or self.path)


def find(source: Source) -> Iterator[Found]:
    """All image files of a source in the order of their paths' code points, one at a time.

    Hidden files and folders, other extensions and data sets made by cirbench are passed over. A
    symlinked folder is followed once, however many links lead there; one that leads back to a
    folder it lies in, and anything else that has an image's name but cannot be used, is a Found
    with a ``problem``.
    Raises CirbenchError when the root itself cannot be listed.
    """
    if source.files:
        for path, split in sorted(source.files):
            yield _found(source, path, split)
        return
    try:
        stack = [_Folder("", _identity(os.stat(source.root)), _entries(str(source.root)))]
    except OSError as error:
        raise CirbenchError(f"{source.root} cannot be read: {error.strerror}") from error
    followed: set[tuple[int, int]] = set()
    while stack:
        if not stack[-1].entries:
            stack.pop()
            continue
        entry = stack[-1].entries.pop()
        path = stack[-1].prefix + entry.name
        if not _is_dir(entry):
            yield _found(source, path, source.split)
            continue
        try:
            identity = _identity(entry.stat())
            if any(folder.identity == identity for folder in stack):
                raise OSError(errno.ELOOP, "symlink loop")
            if is_data_set(entry.path):
                continue
            if entry.is_symlink():
                if identity in followed:
                    continue
                followed.add(identity)
            stack.append(_Folder(f"{path}/", identity, _entries(entry.path)))
        except OSError as error:
            yield _problem(source, path, source.split, error)


@dataclass
class _Folder:
    prefix: str
    identity: tuple[int, int]
    entries: list[os.DirEntry[str]] = field(repr=False)  # last one first


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What may matter in a folder, sorted backwards, so that popping the end goes in order."""
    with os.scandir(folder) as listing:
        entries = [entry for entry in listing if not entry.name.startswith(".") and _matters(entry)]
    # With its slash, a folder sorts where its files' whole paths do: "a-b.png" < "a/x.png".
    entries.sort(key=lambda entry: entry.name + "/" * _is_dir(entry), reverse=True)
    return entries


def is_data_set(folder: str | Path) -> bool:
    """A data set of ours inside a folder of photos: its LQ images are no HQ images."""
    return any(os.path.exists(os.path.join(folder, name)) for name in DATA_SET_FILES)


def _matters(entry: os.DirEntry[str]) -> bool:
    if os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
        return True
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or through a folder that may not be entered
        return True


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _found(source: Source, path: str, split: str) -> Found:
    try:
        status = os.stat(source.root / path)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        path.encode()
    except OSError as error:
        return _problem(source, path, split, error)
    except UnicodeEncodeError:
        reason = OSError(errno.EILSEQ, "its name is not valid UTF-8; rename it")
        return _problem(source, path, split, reason)
    return Found(source.set, path, source.root, split, status.st_size, status.st_mtime_ns)


_REASONS = {errno.ELOOP: "symlink loop", errno.ENOENT: "no such file (a broken symlink?)"}


def _problem(source: Source, path: str, split: str, error: OSError) -> Found:
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    shown = os.fsencode(path).decode(errors="backslashreplace")
    text = f"{shown} cannot be used: {reason}"
    return Found(source.set, shown, source.root, split, 0, 0, text, path)


def parse_sources(args: Sequence[str], set_name: str | None, split: str | None) -> list[Source]:
    """Sources from command-line arguments, each ``PATH`` or ``NAME=PATH``, in their order.

    A path is a folder or one image file; files of one folder make one source. A source without a
    ``NAME=`` is called ``set_name`` when given, else after its folder; folders that would get the
    same name are told apart by their parents' names. Naming one folder twice is harmless.
    Raises CirbenchError for a missing path, a bad name, or one name given to two folders.
    """
    groups: dict[tuple[str, str | None], tuple[Path, list[str]]] = {}
    for arg in args:
        name, path = _named(arg)
        name = name if name is not None else set_name
        if name is not None and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
            raise CirbenchError(
                f"{name!r} cannot be the name of a set; use letters, digits, '.', '_' and '-'"
            )
        whole = path.is_dir()
        if not whole and not path.is_file():
            missing = "is neither a folder nor a file" if path.exists() else "does not exist"
            raise CirbenchError(f"source {arg} {missing}")
        folder = path if whole else path.parent
        _, files = groups.setdefault((os.path.realpath(folder), name), (folder, []))
        files.append("" if whole else path.name)
    names = _names([(name, folder) for (_, name), (folder, _) in groups.items()])
    sources = []
    for name, (folder, files) in zip(names, groups.values(), strict=True):
        # The whole folder contains the files named besides it.
        only = () if "" in files else tuple((file, split or "") for file in sorted(set(files)))
        sources.append(Source(name, folder, split or "", only))
    return sources


def _named(arg: str) -> tuple[str | None, Path]:
    name, equals, path = arg.partition("=")
    if not equals or "/" in name or os.path.lexists(arg):
        name, path = "", arg
    if not path or (equals and not name and path != arg):
        raise CirbenchError(f"source {arg!r} is not PATH or NAME=PATH")
    return name or None, Path(os.path.abspath(os.path.expanduser(path)))


def _names(groups: list[tuple[str | None, Path]]) -> list[str]:
    """One distinct name per (given name, folder), compared without case as macOS does."""
    depths = [0 if name is not None else 1 for name, _ in groups]
    while True:
        names = [
            name or _default(folder, depth)
            for (name, folder), depth in zip(groups, depths, strict=True)
        ]
        by_name: dict[str, list[int]] = {}
        for index, name in enumerate(names):
            by_name.setdefault(name.casefold(), []).append(index)
        clashes = [indices for indices in by_name.values() if len(indices) > 1]
        if not clashes:
            return names
        for indices in clashes:
            longer = [i for i in indices if 0 < depths[i] < len(groups[i][1].parts) - 1]
            if not longer:
                folders = " and ".join(str(groups[i][1]) for i in indices)
                raise CirbenchError(
                    f"{folders} would both be called {names[indices[0]]!r}; "
                    "name each one with NAME=PATH"
                )
            for index in longer:
                depths[index] += 1


def _default(folder: Path, depth: int) -> str:
    """The last ``depth`` parts of a folder's path as a set's name."""
    text = "-".join(folder.parts[1:][-depth:])
    return re.sub(r"[^A-Za-z0-9._-]", "-", text).lstrip(".-") or "images"
