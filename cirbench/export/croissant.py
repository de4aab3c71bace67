"""Croissant 1.0 metadata (MLCommons, JSON-LD) beside folders of PNGs.

Three record sets: ``pairs`` (the manifest's columns with the names of both files; no pixels, so
that it stays small), ``hq`` and ``lq`` (file name and image).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from .. import __version__
from ..errors import CirbenchError
from ..schema import COLUMNS
from . import folders
from .target import Target

FILE_NAME = "croissant.json"

# The context that the Croissant 1.0 specification asks for, term by term.
_TERMS = (
    "citeAs column equivalentProperty extract field fileObject fileProperty fileSet format "
    "includes isLiveDataset jsonPath key md5 parentField path recordSet references regex "
    "repeated replace samplingRate separator source subField transform"
)
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    **{name: f"cr:{name}" for name in _TERMS.split()},
    **{name: {"@id": f"cr:{name}", "@type": "@json"} for name in ("data", "examples")},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
}
_TYPES = {"str": "sc:Text", "int": "sc:Integer", "float": "sc:Float"}
_FILES = {"hq_file": "HQ image (PNG).", "lq_file": "LQ image (PNG)."}


def write(
    target: Target, table: pa.Table, name: str, licences: Sequence[str], hq: bool, url: str
) -> None:
    """Write ``croissant.json`` for a target that :func:`folders.write` has filled.

    Args:
        target: the export.
        table: its rows.
        name: of the data set.
        licences: of its images.
        hq: whether the HQ images are there.
        url: the data set's page; may be empty.

    ``datePublished`` is today (UTC), or the time in the environment's ``SOURCE_DATE_EPOCH``.
    """
    kinds = {"hq": "HQ/*.png", "lq": "LQ/*/*.png"} if hq else {"lq": "LQ/*/*.png"}
    described = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": f"{table.num_rows} compressed images (LQ) for universal compressed image "
        "restoration, with their sources (HQ); see README.md.",
        "license": list(licences),
        **({"url": url} if url else {}),
        "version": "1.0.0",
        "datePublished": _today(),
        "creator": {"@type": "sc:Organization", "name": f"cirbench {__version__}"},
        "citeAs": f"{name}, made with cirbench {__version__}",
        "distribution": [_rows_file(target), *(_images(*kind) for kind in kinds.items())],
        "recordSet": [_pairs(), *(_record_set(kind) for kind in kinds)],
    }
    text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    target.put(FILE_NAME, text.encode())


def _today() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        when = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    except (ValueError, OverflowError, OSError):
        raise CirbenchError(
            f"SOURCE_DATE_EPOCH is {epoch!r}; it must be seconds since 1970"
        ) from None
    return when.date().isoformat()


def _rows_file(target: Target) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": folders.ROWS,
        "name": folders.ROWS,
        "description": "The manifest, with the names of both images.",
        "contentUrl": folders.ROWS,
        "encodingFormat": "application/x-parquet",
        "sha256": target.sums[folders.ROWS],
    }


def _images(kind: str, pattern: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{kind}-files",
        "name": f"{kind}-files",
        "description": f"All {kind.upper()} images.",
        "encodingFormat": "image/png",
        "includes": pattern,
    }


def _pairs() -> dict[str, Any]:
    columns = [(c.name, _TYPES[c.type], c.doc) for c in COLUMNS]
    columns += [(name, "sc:Text", doc) for name, doc in _FILES.items()]
    fields = [
        _field("pairs", name, type_, doc, {"fileObject": {"@id": folders.ROWS}}, {"column": name})
        for name, type_, doc in columns
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": "pairs",
        "name": "pairs",
        "description": "One record per LQ image; hq_file and lq_file are keys of hq and lq.",
        "key": {"@id": "pairs/row_id"},
        "field": fields,
    }


def _record_set(kind: str) -> dict[str, Any]:
    """The images of one kind: ``file`` as in the pairs' ``hq_file`` or ``lq_file``, ``image``."""
    source = {"fileSet": {"@id": f"{kind}-files"}}
    named = {"fileProperty": "fullpath"}
    return {
        "@type": "cr:RecordSet",
        "@id": kind,
        "name": kind,
        "description": f"All {kind.upper()} images.",
        "key": {"@id": f"{kind}/file"},
        "field": [
            _field(kind, "file", "sc:Text", "Path in this folder.", source, named),
            _field(kind, "image", "sc:ImageObject", "Pixels.", source, {"fileProperty": "content"}),
        ],
    }


def _field(
    parent: str, name: str, type_: str, doc: str, source: dict[str, Any], extract: dict[str, str]
) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{parent}/{name}",
        "name": name,
        "description": doc,
        "dataType": type_,
        "source": source | {"extract": extract},
    }
