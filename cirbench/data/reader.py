"""The pixels a sample needs, the cheapest way that gives them: cache, top rows, whole file.

A file's pixels are compared with the manifest's hash when it is read for the first time; from then
on only the rows down to the end of the crop are decoded where the format allows it. What goes into
the cache was compared, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .. import codecs
from ..builder import store
from ..codecs import RGB
from ..errors import CirbenchError, InputError, MismatchError
from ..manifest import Manifest
from .cache import TileCache
from .rows import top_rows
from .transforms import Box, cut, resize

COLUMNS = (
    *("row_id", "task", "task_id", "codec", "level", "settings", "source_mode", "tile"),
    *("hq_root", "hq_path", "hq_sha256", "lq_path", "lq_sha256", "bitstream_path"),
    *("width", "height", "decoder_version"),
)
Row = dict[str, Any]


def select(manifest: Manifest, **wanted: Any) -> Manifest:
    """The usable rows with these column values (a value or a list of them).

    Raises CirbenchError when there is no such column or no such row.
    """
    chosen = manifest.usable.filter(**wanted)
    if not len(chosen):
        text = ", ".join(f"{name}={value!r}" for name, value in wanted.items()) or "any"
        raise CirbenchError(f"{manifest.folder} has no usable row with {text}")
    return chosen


def lq(manifest: Manifest, row: Row, stored: bool | None = None) -> RGB:
    """LQ pixels of a row: the ``stored`` ones or from its bitstream; None: what takes less time,
    and where a bitstream decodes to other pixels here, the stored ones if there are any.

    Raises InputError when they are not the recorded ones, and what Manifest.lq raises.
    """
    if stored is None:
        try:
            return lq(manifest, row, _stored(row))
        except MismatchError:
            if not row["lq_path"]:
                raise
            stored = True
    rgb = manifest.lq(row, stored)
    if stored and store.pixel_sha256(rgb) != row["lq_sha256"]:
        raise InputError(f"{row['lq_path']} holds other pixels than recorded; make its row again")
    return rgb


def _stored(row: Row) -> bool:
    """Read the stored PNG, if there is one: only JPEG and WebP bitstreams decode faster."""
    return bool(row["lq_path"]) and row["codec"] not in ("jpeg", "webp")


_ONLY_STORED = 2


class Reader:
    """Random access to the pictures of a data set.

    Args:
        manifest: its rows are numbered in the manifest's order.
        cache: where decoded pictures are kept, if at all.
        resized: give pictures scaled to squares of this side (``transforms.resize``).

    Attributes:
        checked: one flag per photo and per row, 1 once its pixels were compared with their hash,
            2 when the stored ones fit and the bitstream does not; may be replaced by memory that
            processes share.

    Raises CirbenchError for rows of a slow decoder whose pixels are not stored.
    """

    def __init__(
        self, manifest: Manifest, cache: TileCache | None = None, resized: int | None = None
    ) -> None:
        self.manifest, self.cache, self.resized = manifest, cache, resized
        self._table = manifest.table.select(COLUMNS).combine_chunks()
        self._refuse_slow()
        tile = pc.fill_null(self._table["tile"], "")
        photo = pc.binary_join_element_wise(
            self._table["hq_root"], self._table["hq_path"], tile, "\0"
        )
        codes = pa.chunked_array([photo.combine_chunks()]).dictionary_encode().combine_chunks()
        self._photo = np.asarray(codes.indices)
        self._photos = len(codes.dictionary)
        self.checked: Any = np.zeros(self._photos + len(self._photo), np.uint8)

    def _refuse_slow(self) -> None:
        slow = [name for name in codecs.names() if codecs.get(name).decode_cost == "slow"]
        is_slow = pc.is_in(self._table["codec"], value_set=pa.array(slow))
        missing = self._table.filter(pc.and_(is_slow, pc.is_null(self._table["lq_path"])))
        if missing.num_rows:
            names = ", ".join(sorted(set(missing["codec"].to_pylist())))
            raise CirbenchError(
                f"{missing.num_rows} rows of {names} have no stored pixels and decode too slowly "
                f"for training; run cirbench materialize {self.manifest.folder} --store bitstream"
            )

    def row(self, index: int) -> Row:
        """The columns that reading needs, of one row."""
        row: Row = self._table.slice(index, 1).to_pylist()[0]
        return row

    def hq(self, index: int, row: Row, box: Box | None) -> RGB:
        """HQ pixels in ``box`` (None: all), uint8 (h, w, 3). Raises what Manifest.hq raises."""

        def part(box: Box) -> RGB | None:
            if row["source_mode"] != "RGB":
                return None
            top, left = box[:2]
            if row["tile"]:
                x, y, *_ = map(int, row["tile"].split(","))
                top, left = top + y, left + x
            data = self.manifest.hq_path(row).read_bytes()
            return _corner(data, (top, left, *box[2:]))

        flag = int(self._photo[index])
        return self._read(row, box, flag, row["hq_sha256"], self.manifest.hq, part)

    def lq(self, index: int, row: Row, box: Box | None) -> RGB:
        """LQ pixels in ``box`` (None: all), uint8 (h, w, 3). Raises what Manifest.lq raises."""

        flag = self._photos + index

        def whole(row: Row) -> RGB:
            if self.checked[flag] == _ONLY_STORED:
                return lq(self.manifest, row, stored=True)
            try:
                return lq(self.manifest, row, _stored(row))
            except MismatchError:
                if not row["lq_path"]:
                    raise
                self.checked[flag] = _ONLY_STORED  # another libjpeg, say: take the slower way
                return lq(self.manifest, row, stored=True)

        def part(box: Box) -> RGB | None:
            if _stored(row) or self.checked[flag] == _ONLY_STORED:
                return _corner(store.inside(self.manifest.folder, row["lq_path"]).read_bytes(), box)
            codec, bitstream = codecs.get(row["codec"]), self.manifest.bitstream(row)
            corner = _corner(bitstream, box)
            if corner is not None:
                return corner
            size = row["height"], row["width"]
            return cut(codec.decode(bitstream, size, json.loads(row["settings"])), box)

        return self._read(row, box, flag, self._lq_key(row), whole, part)

    def _lq_key(self, row: Row) -> str:
        """The cache's key: pixels that need not be the recorded ones go by who made them."""
        sha256 = str(row["lq_sha256"])
        if self.manifest.on_mismatch == "error" or row["lq_path"]:
            return sha256
        return f"{sha256}-{store.sha256(self.manifest.decoder(row).encode())[:16]}"

    def _read(
        self,
        row: Row,
        box: Box | None,
        flag: int,
        key: str,
        whole: Callable[[Row], RGB],
        part: Callable[[Box], RGB | None],
    ) -> RGB:
        shape = row["height"], row["width"]
        if self.resized:
            key, shape = f"{key}-{self.resized}", (self.resized, self.resized)
        if self.cache and (found := self.cache.get(key, shape, box)) is not None:
            return found
        wanted = self.cache and not self.cache.full
        if box and not wanted and self.checked[flag]:
            corner = part(box)
            if corner is not None:
                return corner
        rgb = whole(row)
        if not self.checked[flag]:
            self.checked[flag] = 1
        if self.resized:
            rgb = resize(rgb, self.resized)
        if self.cache:
            self.cache.put(key, rgb)
        return cut(rgb, box) if box else rgb


def _corner(data: bytes, box: Box) -> RGB | None:
    """Pixels in ``box`` of a coded picture, without decoding what is below."""
    rows = top_rows(data, box[0] + box[2])
    if rows is None or rows.shape[1] < box[1] + box[3]:
        return None
    return cut(rows, box)
