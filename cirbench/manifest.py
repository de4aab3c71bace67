"""Read and write ``manifest.parquet``: the only thing downstream code needs to know a data set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from . import codecs, manifest_check, roots, sources, tiles
from .builder import store
from .builder.journal import FILE_NAME as JOURNAL_NAME
from .builder.journal import ROW_FIELDS, Journal
from .builder.once import Once
from .codecs import RGB
from .errors import CirbenchError, InputError
from .schema import ARROW_SCHEMA, NAMES, SCHEMA_VERSION, TIMINGS_SCHEMA

FILE_NAME = "manifest.parquet"
TIMINGS_NAME = "timings.parquet"
SUMS_NAME = f"{FILE_NAME}.sha256"
_ROW_GROUP = 50_000
_PHOTOS = 2  # decoded ones kept for the next tile


def write(folder: Path, journal: Journal, version: str) -> None:
    """Make ``manifest.parquet``, ``timings.parquet`` and ``manifest.parquet.sha256`` (of both).

    Rows are streamed from the journal, sorted by row id: the same rows give the same bytes. Does
    nothing when no row changed since the last time and the files are as they were.
    """
    if journal.manifest_is_current(_stamp(folder)):
        return
    meta = {
        "schema_version": SCHEMA_VERSION,
        "cirbench_version": version,
        "recipes": json.loads(journal.meta("recipes", "[]")),
    }
    schema = ARROW_SCHEMA.with_metadata({"cirbench": json.dumps(meta, sort_keys=True)})
    temporary = folder / store.TEMPORARY
    paths = (temporary / FILE_NAME, temporary / TIMINGS_NAME)
    try:
        temporary.mkdir(exist_ok=True)
        _write_tables(journal, schema, *paths)
        sums = "".join(f"{store.file_sha256(path)}  {path.name}\n" for path in paths)
        for path in paths:
            path.replace(folder / path.name)
    except OSError as error:
        raise store.StoreError(
            f"cannot write {folder / FILE_NAME} ({error}); make room and run the same command again"
        ) from error
    store.write(folder, SUMS_NAME, sums.encode())
    journal.manifest_written(_stamp(folder))
    journal.commit()


def timings(folder: Path) -> dict[str, dict[str, float | None]]:
    """Encode and decode seconds by row id; empty when ``timings.parquet`` is missing or damaged."""
    try:
        table = _read_table(folder / TIMINGS_NAME)
    except (pa.ArrowException, OSError):
        return {}
    return {row.pop("row_id"): row for row in table.to_pylist()}


def _read_table(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as file:  # as a text, pyarrow takes "a:b" for an address
        return pq.read_table(file, page_checksum_verification=True)


def _write_tables(journal: Journal, schema: pa.Schema, path: Path, timings_path: Path) -> None:
    options = {"compression": "zstd", "write_page_checksum": True}
    with (
        pa.OSFile(str(path), "wb") as file,
        pa.OSFile(str(timings_path), "wb") as timings_file,
        pq.ParquetWriter(file, schema, **options) as manifest,
        pq.ParquetWriter(timings_file, TIMINGS_SCHEMA, **options) as timings,
    ):
        for rows in _groups(journal.rows()):
            columns = dict(zip(ROW_FIELDS, zip(*rows, strict=True), strict=True))
            arrays = {field.name: columns[field.name] for field in schema}
            manifest.write_table(pa.table(arrays, schema=schema), row_group_size=_ROW_GROUP)
            arrays = {field.name: columns[field.name] for field in TIMINGS_SCHEMA}
            timings.write_table(pa.table(arrays, schema=TIMINGS_SCHEMA))


def _groups(rows: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    group: list[tuple[Any, ...]] = []
    for row in rows:
        group.append(row)
        if len(group) == _ROW_GROUP:
            yield group
            group = []
    if group:
        yield group


def _stamp(folder: Path) -> str:
    """Size and time of the manifest's files, ``missing`` when one is not there."""
    try:
        found = [(folder / name).stat() for name in (FILE_NAME, TIMINGS_NAME, SUMS_NAME)]
    except FileNotFoundError:
        return "missing"
    return " ".join(f"{one.st_size} {one.st_mtime_ns}" for one in found)


class Manifest:
    """One data set, opened for reading.

    >>> manifest = Manifest.open("data/cir").filter(codec="jpeg", split="test")
    >>> for row in manifest:
    ...     hq, lq = manifest.hq(row), manifest.lq(row)      # uint8 (H, W, 3)

    Attributes:
        folder: the data set's folder.
        table: the rows, an Arrow table with the columns of ``manifests/schema.md``.
        metadata: file-level metadata: schema version, cirbench version, recipes.
    """

    def __init__(
        self,
        folder: Path,
        table: pa.Table,
        metadata: Mapping[str, Any],
        hq_roots: Mapping[str, Path] | None = None,
    ) -> None:
        self.folder, self.table, self.metadata = folder, table, metadata
        self._given_roots = dict(hq_roots or {})
        self._roots: dict[str, Path] = {}
        self._hashed: set[tuple[str, str, str | None]] = set()
        self._photos: Once[RGB] = Once(_PHOTOS)

    @classmethod
    def open(cls, folder: str | Path, hq_roots: Mapping[str, str | Path] | None = None) -> Manifest:
        """Open the manifest in ``folder`` (or the parquet file itself).

        Args:
            folder: a data set made by ``cirbench build``.
            hq_roots: folders of HQ roots, overriding ``roots.toml``.

        Raises CirbenchError when it is missing, damaged, of another schema version, or names a
        path outside its folder.
        """
        path = Path(folder)
        path = path if path.suffix == ".parquet" else path / FILE_NAME
        if not path.is_file():
            if (path.parent / JOURNAL_NAME).is_file():
                raise CirbenchError(f"{path} is missing; run the build that made it once more")
            raise CirbenchError(
                f"there is no {path}; make one with: cirbench build SOURCE --out {path.parent}"
            )
        try:
            table = _read_table(path)
            metadata = json.loads((table.schema.metadata or {})[b"cirbench"])
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise CirbenchError(f"{path} is damaged or no cirbench manifest ({error})") from error
        version = metadata.get("schema_version")
        if version != SCHEMA_VERSION:
            raise CirbenchError(
                f"{path} has schema version {version}, this cirbench reads {SCHEMA_VERSION}; "
                "use the cirbench that made it"
            )
        manifest_check.check(table, path)
        given = {name: Path(root) for name, root in (hq_roots or {}).items()}
        return cls(path.parent, table, metadata, given)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Rows as dictionaries, in row-id order."""
        for batch in self.table.to_batches(max_chunksize=4096):
            yield from batch.to_pylist()

    @cached_property
    def usable(self) -> Manifest:
        """The same data set without its failed rows."""
        return self._with(self.table.filter(pc.not_equal(self.table["status"], "error")))

    def filter(self, **wanted: Any) -> Manifest:
        """Rows whose columns equal the given values (or are among them, for a list).

        >>> manifest.filter(codec=["hevc", "vvc"], kind="seen")
        """
        table = self.table
        for name, value in wanted.items():
            if name not in NAMES:
                raise CirbenchError(f"the manifest has no column {name!r}; see manifests/schema.md")
            values = list(value) if isinstance(value, (list, tuple, set)) else [value]
            options = pa.array(values, type=table.schema.field(name).type)
            table = table.filter(pc.is_in(table[name], value_set=options))
        return self._with(table)

    def _with(self, table: pa.Table) -> Manifest:
        return Manifest(self.folder, table, self.metadata, self._given_roots)

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
        if not path.exists():
            raise InputError(
                f"{path} is missing; if the photos moved, add --hq-root {row['hq_root']}=FOLDER"
            )
        if not row["tile"]:
            return sources.read(path).rgb
        return self._photos.get((path,), lambda: sources.read(path).rgb)

    def bitstream(self, row: Mapping[str, Any]) -> bytes:
        """The coded bytes of a row. Raises InputError when they are missing."""
        return _read(store.inside(self.folder, row["bitstream_path"]))

    def lq(self, row: Mapping[str, Any], stored: bool = True) -> RGB:
        """LQ pixels of a row, uint8 (H, W, 3): stored ones, else decoded from the bitstream.

        Decoded pixels are checked against ``lq_sha256``. Raises InputError naming both decoder
        versions when they differ, CodecError when the bitstream cannot be decoded.
        """
        if stored and row["lq_path"]:
            path = store.inside(self.folder, row["lq_path"])
            return store.decode_png(_read(path), str(path))
        codec, settings = codecs.get(row["codec"]), json.loads(row["settings"])
        rgb = codec.decode(self.bitstream(row), (row["height"], row["width"]), settings)
        if store.pixel_sha256(rgb) != row["lq_sha256"]:
            here = codec.probe(settings).decoder
            raise InputError(
                f"{row['bitstream_path']} decodes to other pixels than recorded; made with "
                f"{row['decoder_version']}, this machine has {here}"
            )
        return rgb


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror})") from error
