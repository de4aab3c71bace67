"""Weight files: what exists, where it is looked for, what it hashes to, how to get it.

The list is ``manifests/weights.toml``. Nothing is downloaded unless :func:`pull` is called.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from . import suggest
from .errors import CirbenchError, UnavailableError
from .resources import data_dir

POLICIES = ("auto", "published", "mini")
"""``auto`` is ``published`` where the files are on this machine, else ``mini``."""

Progress = Callable[[int, int | None], None]
"""Called with (bytes there so far, bytes in all or None when the server does not say)."""


@dataclass(frozen=True)
class Record:
    """One weight file.

    Attributes:
        name: what ``cirbench weights pull`` calls it, and the manifest's ``weights`` column.
        kind: ``"published"`` (someone else's, to be fetched) or ``"mini"`` (ours, shipped).
        codec, level, model: what it is for: ``"c_psnr"``, ``"q1"``, ``"cheng2020-attn"``.
        file: its file name, ``url``: its address, ``page``: where to get it by hand.
        sha256: 64 hex digits, the prefix its publisher gives, or ``""`` when there is none.
        size, licence, use, note: for people.
    """

    name: str
    kind: str
    codec: str
    level: str
    model: str
    file: str
    url: str
    page: str
    sha256: str
    size: str
    licence: str
    use: str
    note: str = ""


@dataclass(frozen=True)
class Found:
    """A weight file on this machine."""

    record: Record
    path: Path

    @property
    def sha256(self) -> str:
        """Hash of the file itself (not of what it should be)."""
        return sha256(self.path)

    @property
    def genuine(self) -> bool | None:
        """Whether the file is the one its record names; None when there is no hash to compare."""
        wanted = expected_sha256(self.record, self.path)
        return self.sha256.startswith(wanted) if wanted else None

    @property
    def label(self) -> str:
        """The manifest's ``weights`` column: the record's name, marked when the hash differs."""
        return self.record.name + ("" if self.genuine is not False else " (modified)")


@cache
def records() -> tuple[Record, ...]:
    """Every record of ``manifests/weights.toml``, in its order."""
    text = (data_dir("manifests") / "weights.toml").read_text(encoding="utf-8")
    found = []
    for group in tomllib.loads(text)["group"]:
        shared = {key: group[key] for key in ("kind", "codec", "model", "licence", "use")}
        shared |= {key: group.get(key, "") for key in ("page", "note")}
        for entry in group["files"]:
            base = group.get("url", "")
            url = base and f"{base}{entry['file']}{group.get('query', '')}"
            found.append(Record(**{"url": url, **shared, **entry}))
    return tuple(found)


def record(name: str) -> Record:
    """The record called ``name``. Raises CirbenchError, suggesting the nearest names."""
    by_name = {one.name: one for one in records()}
    if name not in by_name:
        raise CirbenchError(f"there are no weights {name!r}; {suggest.hint(name, by_name)}")
    return by_name[name]


def cache_dir() -> Path:
    """The user's own folder for pulled weights."""
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "cirbench" / "weights"
    home = Path.home()
    base_dir = home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache"
    return base_dir / "cirbench" / "weights"


def search_dirs(extra: str | Path | None = None) -> list[Path]:
    """Folders looked through, first match wins: ``extra`` (``--weights-dir``), $CIRBENCH_WEIGHTS,
    the user cache, and torch hub's checkpoints, where CompressAI leaves its own downloads."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    torch_home = os.environ.get("TORCH_HOME") or Path(cache_home) / "torch"
    folders = [extra, os.environ.get("CIRBENCH_WEIGHTS")]
    named = [Path(folder).expanduser() for folder in folders if folder]
    return [*named, cache_dir(), Path(torch_home).expanduser() / "hub" / "checkpoints"]


def mini_dir() -> Path:
    """Where the weights that ship with cirbench are."""
    return data_dir("codecs") / "mini"


def find(name: str, dirs: Iterable[Path] | None = None) -> Path | None:
    """The file of record ``name`` in ``dirs`` (default: :func:`search_dirs`), or None.

    Mini weights are looked for where they ship, and nowhere else.
    """
    one = record(name)
    folders = [mini_dir()] if one.kind == "mini" else search_dirs() if dirs is None else dirs
    return next((path for folder in folders if (path := folder / one.file).is_file()), None)


def sha256(path: Path) -> str:
    """sha256 of a file in hex; computed once per path, size and modification time."""
    status = path.stat()
    return _sha256(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _sha256(path: str, _size: int, _mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expected_sha256(one: Record, path: Path) -> str:
    """What ``path`` should hash to: the publisher's word, else what ``pull`` noted, else ``""``."""
    noted = _hash_note(path)
    if one.sha256 or not noted.is_file():
        return one.sha256
    return noted.read_text(encoding="ascii").strip()


def resolve(
    codec: str,
    level: str,
    policy: str = "auto",
    dirs: Sequence[Path] | None = None,
    model: str | None = None,
) -> Found:
    """The weights that ``codec`` uses at ``level`` (``"q1"``, ``"low"``).

    Args:
        policy: one of :data:`POLICIES`.
        dirs: folders for published weights; default :func:`search_dirs`.
        model: which of the codec's models; default the first one listed.

    Raises UnavailableError naming file, size, licence and the command that gets it.
    """
    if policy not in POLICIES:
        raise CirbenchError(f"there is no weights policy {policy!r}; use {', '.join(POLICIES)}")
    fitting = [r for r in records() if (r.codec, r.level) == (codec, level)]
    fitting = [r for r in fitting if model in (None, r.model)]
    published = [r for r in fitting if r.kind == "published"][:1]
    mini = [r for r in fitting if r.kind == "mini"][:1]
    for one in {"auto": published + mini, "published": published, "mini": mini}[policy]:
        if path := find(one.name, dirs):
            return Found(one, path)
    what = " ".join(filter(None, (codec, level, model)))
    if not published:
        raise UnavailableError(f"there are no {policy} weights for {what}")
    one = published[0]
    get = f"{one.file} ({one.size}, licence {one.licence}); run: cirbench weights pull {one.name}"
    if policy == "mini":
        raise UnavailableError(f"no mini weights for {what} ship with cirbench, use {get}")
    raise UnavailableError(f"{what} needs the weights {get}")


def pull(name: str, dest: str | Path | None = None, progress: Progress | None = None) -> Path:
    """Download record ``name`` into the folder ``dest`` (default: the user cache) and check it.

    A cut download leaves ``FILE.part`` and goes on from there next time. Where the publisher gives
    no hash, the one that arrived is written to ``FILE.sha256``.

    Raises CirbenchError naming the address, what went wrong and what to do.
    """
    one = record(name)
    if not one.url:
        raise CirbenchError(f"{name} ships with cirbench; there is nothing to download")
    folder = Path(dest).expanduser() if dest else cache_dir()
    target = folder / one.file
    if target.is_file():
        if Found(one, target).genuine is False:
            raise CirbenchError(f"{target} is not the published file (wrong sha256); move it away")
        return target
    part = target.with_name(target.name + ".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _download(one, part, progress or (lambda done, total: None))
        digest = sha256(part)
        if not digest.startswith(one.sha256):
            part.unlink()
            raise CirbenchError(
                f"{one.url} sent a file with sha256 {digest}, but its publisher says"
                f" {one.sha256}; it was deleted, try again or get it from {one.page}"
            )
        if not one.sha256:
            _hash_note(target).write_text(digest + "\n", encoding="ascii")
        os.replace(part, target)
    except urllib.error.HTTPError as error:
        hint = f"; get {one.file} from {one.page} and put it into {folder}"
        raise CirbenchError(f"{one.url} answers HTTP {error.code} {error.reason}{hint}") from error
    except _Cut as error:
        raise CirbenchError(f"{one.url}: {error}; run the same command again to go on") from error
    except urllib.error.URLError as error:
        raise CirbenchError(f"{one.url} cannot be reached ({error.reason}); try again") from error
    except OSError as error:
        raise CirbenchError(f"{part} cannot be written: {error.strerror or error}") from error
    return target


class _Cut(Exception):
    """The connection ended before the file did."""


def _hash_note(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _download(one: Record, part: Path, progress: Progress) -> None:
    """Fetch the file into ``part``, going on from its end when the server allows it."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(one.url, headers={"User-Agent": "cirbench"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = _open(request)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise
        if error.headers.get("Content-Range") == f"bytes */{start}":
            return  # all of it was there already
        part.unlink()
        return _download(one, part, progress)
    with response:
        if response.headers.get_content_type() == "text/html":
            raise CirbenchError(
                f"{one.url} sent a web page instead of the file; get {one.file} from {one.page}"
            )
        sent = response.headers.get("Content-Length")
        if response.status != 206:  # the whole file, from its first byte
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink()
            return _download(one, part, progress)
        total = start + int(sent) if sent else None
        done = start
        with part.open("ab" if start else "wb") as file:
            progress(done, total)
            while block := _read(response):
                file.write(block)
                done += len(block)
                progress(done, total)
    if total is not None and done < total:
        raise _Cut(f"the connection was cut after {done:,} of {total:,} bytes")


def _open(request: urllib.request.Request) -> HTTPResponse:
    try:
        response: HTTPResponse = urllib.request.urlopen(request, timeout=60)
    except urllib.error.URLError:
        raise
    except (OSError, HTTPException) as error:
        raise _Cut(f"the server hung up ({error})") from error
    return response


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read(1 << 20)
    except (OSError, HTTPException) as error:
        raise _Cut(f"the connection was cut ({error})") from error
