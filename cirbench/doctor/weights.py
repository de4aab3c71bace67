"""Weight files: which are here, and the command that gets the others."""

from __future__ import annotations

from collections.abc import Iterator

from .. import codecs, metrics
from .. import weights as files
from ..errors import UnavailableError
from .finding import NOTE, OK, Finding


def check() -> Iterator[Finding]:
    """Published weights of the learned codecs, and what metrics miss."""
    for name in codecs.names():
        if "weights" in codecs.get(name).settings():
            yield _codec(name)
    ready = [name for name in metrics.names() if not metrics.get(name).problem()]
    yield Finding(OK, "metrics", ", ".join(ready))
    for name in metrics.names():
        if problem := metrics.get(name).problem():
            yield Finding(NOTE, name, problem)


def _codec(name: str) -> Finding:
    codec = codecs.get(name)
    labels = [codec.label(level) for level in codec.levels]
    what, missing, modified = f"{name} weights", [], []
    for label in labels:
        try:
            found = files.resolve(name, label, "published")
        except UnavailableError:
            missing.append(label)
        else:
            if found.genuine is False:
                modified.append(str(found.path))
    if modified:
        text = f"not the published file: {', '.join(modified)}"
        return Finding(NOTE, what, text, "move it away and pull it again")
    if missing:
        published = {r.level: r.name for r in reversed(files.records()) if _is_of(r, name)}
        text = f"published ones missing for {', '.join(missing)}: the mini ones are used"
        names = " ".join(published[label] for label in missing)
        return Finding(NOTE, what, text, f"cirbench weights pull {names}")
    return Finding(OK, what, "published ones are here")


def _is_of(record: files.Record, codec: str) -> bool:
    return record.codec == codec and record.kind == "published"
