"""A data set whose journal is lost gets it back from its manifest, so that a build can go on."""

from __future__ import annotations

from pathlib import Path

from .. import manifest, tiles, timed
from ..codecs import get
from . import store
from .journal import ImageRecord, Journal


def refill(journal: Journal, folder: Path, wanted: str | None = None) -> bool:
    """Fill an empty journal from the manifest beside it; False when there is nothing to do.

    ``wanted`` is the ``--store`` of the build at hand: the data set's own where the rows fit it.

    Sizes and times of HQ files are not in a manifest, nor are the sizes of photos that were cut:
    the next build hashes those photos again.

    Raises CirbenchError when the manifest is damaged: better no build than one that forgets rows.
    """
    if not journal.is_empty() or not (folder / manifest.FILE_NAME).is_file():
        return False
    data = manifest.Manifest.open(folder)
    stores = dict.fromkeys(store.MODES)
    batches = (b for t in timed.with_seconds(data.tables(), folder) for b in t.to_batches(4096))
    for row in (row for batch in batches for row in batch.to_pylist()):
        journal.add(row)
        if row["task"] is None or row["status"] == "error":
            continue
        codec = get(row["codec"])
        name = row["bitstream_path"].split("/", 4)[-1].removesuffix(f".{codec.extension}")
        if row["tile"]:
            name = name.removesuffix(tiles.suffix(tiles.Box.parse(row["tile"])))
        known = (row["set"], row["hq_path"], name, -1, -1, row["photo_sha256"])
        size = (0, 0) if row["tile"] else (row["width"], row["height"])
        journal.put_image(ImageRecord(*known, *size))
        for mode in [m for m in stores if store.keeps_pixels(m, codec) != bool(row["lq_path"])]:
            del stores[mode]
    if stores:
        journal.set_meta("store", wanted if wanted in stores else next(iter(stores)))
    files = (path for path in (folder / "hq").rglob("*") if path.is_symlink() or path.is_file())
    if (first := next(files, None)) is not None:
        journal.set_meta("hq", "link" if first.is_symlink() else "copy")
    return True
