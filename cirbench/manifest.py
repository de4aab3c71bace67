"""Read and write ``manifest.parquet``: the only thing downstream code needs to know a data set."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from . import codecs, manifest_check, manifest_rows, migrate, parquet, roots, sources, tiles
from .builder import store
from .builder.journal import FILE_NAME as JOURNAL_NAME
from .builder.once import Once
from .codecs import RGB
from .errors import CirbenchError, InputError, MismatchError
from .manifest_rows import FileRows
from .manifest_write import FILE_NAME, SUMS_NAME, TIMINGS_NAME, timings, write
from .schema import ARROW_SCHEMA, NAMES

__all__ = ["FILE_NAME", "SUMS_NAME", "TIMINGS_NAME", "Manifest", "timings", "write"]

IN_MEMORY = 200_000
"""A manifest of more rows stays in its file; its rows are read as they are needed."""
_PHOTOS = 2  # decoded ones kept for the next tile


def _read_rows(path: Path) -> tuple[pa.Table | FileRows, pa.Schema]:
    """The rows, in memory when they are few, and the columns."""
    with pa.OSFile(str(path)) as file:
        head = pq.ParquetFile(file)
        if head.metadata.num_rows > IN_MEMORY:
            return FileRows.open(path), head.schema_arrow
    table = parquet.read(path)
    return table, table.schema


ON_MISMATCH = ("error", "warn")


class MismatchWarning(UserWarning):
    """Pixels made on read are not the recorded ones, and are used all the same."""


class Manifest:
    """One data set, opened for reading.

    >>> manifest = Manifest.open("data/cir").filter(codec="jpeg", split="test")
    >>> for row in manifest:
    ...     hq, lq = manifest.hq(row), manifest.lq(row)      # uint8 (H, W, 3)

    Attributes:
        folder: the data set's folder.
        table: the rows, an Arrow table with the columns of ``manifests/schema.md``.
        metadata: file-level metadata: schema version, cirbench version, recipes.
        on_mismatch: ``error`` or ``warn``, see :meth:`lq`.
        mismatches: with ``warn``, what was found (one sentence for each codec), and how often.
    """

    def __init__(
        self,
        folder: Path,
        rows: pa.Table | FileRows,
        metadata: Mapping[str, Any],
        hq_roots: Mapping[str, Path] | None = None,
        on_mismatch: str = "error",
        mismatches: Counter[str] | None = None,
    ) -> None:
        self.folder, self.metadata, self._rows = folder, metadata, rows
        self.on_mismatch = on_mismatch
        self.mismatches: Counter[str] = Counter() if mismatches is None else mismatches
        self._given_roots = dict(hq_roots or {})
        self._roots: dict[str, Path] = {}
        self._hashed: set[tuple[str, str, str | None]] = set()
        self._photos: Once[RGB] = Once(_PHOTOS)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        hq_roots: Mapping[str, str | Path] | None = None,
        on_mismatch: str = "error",
    ) -> Manifest:
        """Open the manifest in ``folder`` (or the parquet file itself).

        Args:
            folder: a data set made by ``cirbench build``.
            hq_roots: folders of HQ roots, overriding ``roots.toml``.
            on_mismatch: ``error`` or ``warn`` when a bitstream decodes to other pixels here than
                recorded, see :meth:`lq`.

        Raises CirbenchError when it is missing, damaged, of another schema version, or names a
        path outside its folder. Of a manifest of more than ``IN_MEMORY`` rows, damaged rows and
        such paths are noticed when they are read: no row is given out unchecked.
        """
        if on_mismatch not in ON_MISMATCH:
            raise CirbenchError(
                f"on_mismatch cannot be {on_mismatch!r}; it is one of {', '.join(ON_MISMATCH)}"
            )
        path = Path(folder)
        path = path if path.suffix == ".parquet" else path / FILE_NAME
        if not path.is_file():
            if (path.parent / JOURNAL_NAME).is_file():
                raise CirbenchError(f"{path} is missing; run the build that made it once more")
            raise CirbenchError(
                f"there is no {path}; make one with: cirbench build SOURCE --out {path.parent}"
            )
        try:
            rows, schema = _read_rows(path)
            metadata = json.loads((schema.metadata or {})[b"cirbench"])
        except (pa.ArrowException, OSError, KeyError, ValueError, RecursionError) as error:
            raise manifest_check.damaged(path, error) from error
        manifest_check.check_metadata(metadata, path)
        version, made_with = metadata.get("schema_version"), metadata.get("cirbench_version", "")
        if migrate.check_version(path, version, made_with):
            rows = migrate.table(parquet.read(path), metadata, path)
            schema = rows.schema
        manifest_check.check_columns(schema, path)
        if isinstance(rows, pa.Table):
            manifest_check.check_rows(rows, path)
        given = {name: Path(root) for name, root in (hq_roots or {}).items()}
        return cls(path.parent, rows, metadata, given, on_mismatch)

    def __len__(self) -> int:
        return int(self._rows.count if isinstance(self._rows, FileRows) else self._rows.num_rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Rows as dictionaries, in row-id order."""
        for table in self.tables():
            for batch in table.to_batches(max_chunksize=4096):
                yield from batch.to_pylist()

    @property
    def table(self) -> pa.Table:
        """All rows with all columns, in memory: about 1 kB a row. :meth:`read` takes less."""
        if isinstance(self._rows, FileRows):
            self._rows = self.read(*NAMES)
        return self._rows

    def read(self, *columns: str) -> pa.Table:
        """These columns of all rows. Of a large manifest, nothing else is read."""
        fields = [ARROW_SCHEMA.field(name) for name in columns]
        return pa.concat_tables([pa.schema(fields).empty_table(), *self.tables(columns)])

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """All or some columns, of a large manifest some 10,000 rows at a time, in row-id order.

        Raises CirbenchError when the file was damaged or replaced since it was opened.
        """
        if isinstance(self._rows, FileRows):
            yield from self._rows.tables(columns)
        else:
            yield self._rows if columns is None else self._rows.select(list(columns))

    @cached_property
    def usable(self) -> Manifest:
        """The same data set without its failed rows."""
        return self.filter(status=["ok", "warning"])

    def filter(self, **wanted: Any) -> Manifest:
        """Rows whose columns equal the given values (or are among them, for a list).

        Of a large manifest nothing is read yet, and later only what fits.

        >>> manifest.filter(codec=["hevc", "vvc"], kind="seen")
        """
        conditions = manifest_rows.conditions(wanted)
        if isinstance(self._rows, FileRows):
            rows = self._rows.filter(conditions)
        else:
            rows = manifest_rows.fitting(self._rows, conditions)
        modes = (self.on_mismatch, self.mismatches)
        return Manifest(self.folder, rows, self.metadata, self._given_roots, *modes)

    def reader(self) -> Manifest:
        """The same data set without its rows, for another process: it reads those it is given."""
        given = {name: root.absolute() for name, root in self._given_roots.items()}
        modes = (self.on_mismatch, self.mismatches)
        return Manifest(self.folder.absolute(), ARROW_SCHEMA.empty_table(), {}, given, *modes)

    def hq_path(self, row: Mapping[str, Any]) -> Path:
        """Where a row's HQ image is on this machine."""
        name = row["hq_root"]
        if name not in self._roots:
            self._roots[name] = roots.resolve(self.folder, name, self._given_roots)
        return store.inside(self._roots[name], row["hq_path"])

    def hq(self, row: Mapping[str, Any]) -> RGB:
        """HQ pixels of a row, uint8 (H, W, 3); their hash is checked the first time.

        Of a row that is a tile, the tile's pixels; the photo is decoded once for consecutive tiles.

        Raises InputError when the image is missing, unreadable or not the one that was coded.
        """
        path, tile = self.hq_path(row), row["tile"]
        rgb = self.photo(row)
        if tile:
            rgb = tiles.cut(rgb, tiles.Box.parse(tile), str(path))
        key = (row["hq_root"], row["hq_path"], tile)
        if key not in self._hashed:
            if store.pixel_sha256(rgb) != row["hq_sha256"]:
                raise InputError(
                    f"{path} is not the HQ image this row was made from (sha256 differs)"
                )
            self._hashed.add(key)
        return rgb

    def photo(self, row: Mapping[str, Any]) -> RGB:
        """The whole photo that a row is made from, uint8 (H, W, 3), its hash not checked.

        Do not write into it when the row is a tile: the next tiles are cut from the same array.
        Raises InputError when it is missing or unreadable.
        """
        path = self.hq_path(row)
        if not os.path.exists(path):  # unlike Path.exists, also for a name that cannot be
            raise InputError(
                f"{path} is missing; if the photos moved, add --hq-root {row['hq_root']}=FOLDER"
            )
        if not row["tile"]:
            return sources.read(path).rgb
        return self._photos.get((path,), lambda: sources.read(path).rgb)

    def bitstream(self, row: Mapping[str, Any]) -> bytes:
        """The coded bytes of a row. Raises InputError when they are missing."""
        return _read(store.inside(self.folder, row["bitstream_path"]))

    def decoder(self, row: Mapping[str, Any]) -> str:
        """The decoder, with its version, that this machine has for a row's bitstream."""
        return codecs.get(row["codec"]).probe(json.loads(row["settings"])).decoder

    def lq(self, row: Mapping[str, Any], stored: bool = True) -> RGB:
        """LQ pixels of a row, uint8 (H, W, 3): stored ones, else decoded from the bitstream.

        Decoded pixels are checked against ``lq_sha256``. When they differ, ``on_mismatch`` says
        what happens: ``error`` raises MismatchError naming both decoder versions, ``warn`` gives
        the pixels, warns once for each pair of versions, and counts.

        Raises InputError and CodecError when a file cannot be read or decoded.
        """
        if stored and row["lq_path"]:
            path = store.inside(self.folder, row["lq_path"])
            return store.decode_png(_read(path), str(path))
        codec = codecs.get(row["codec"])
        settings = codec.parse_settings(row["settings"])
        rgb = codec.decode(self.bitstream(row), (row["height"], row["width"]), settings)
        if store.pixel_sha256(rgb) != row["lq_sha256"]:
            which = f"made with {row['decoder_version']}, this machine has {self.decoder(row)}"
            if self.on_mismatch == "error" or row["lq_path"]:  # then those pixels are to be had
                raise MismatchError(
                    f"{row['bitstream_path']} decodes to other pixels than recorded; {which}"
                )
            text = f"{row['codec']} decodes to other pixels than recorded: {which}"
            self.mismatches[text] += 1
            if self.mismatches[text] == 1:
                warnings.warn(text, MismatchWarning, stacklevel=2)
        return rgb


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot read {path} ({why})") from error
