"""One photo through every task, as one picture: HQ and LQs, whole and at their busiest place."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..builder import store
from ..codecs import RGB
from ..errors import CirbenchError
from ..manifest import Manifest
from . import drawing

_CROP, _SCALE = 128, 2
_SIDE = _CROP * _SCALE
_KEYS = ("set", "hq_root", "hq_path", "tile")

Photo = dict[str, Any]
"""Set, root, path and tile of one HQ image."""


def write(
    folder: Path, name: str, out: Path | None = None, hq_roots: Mapping[str, Path] | None = None
) -> Path:
    """Draw the strip of one image.

    A line per codec, HQ on the left, then its levels from worst to best. Each image is shown
    whole (scaled down to fit 256x256 if it is larger) above its busiest 128x128 crop at twice its
    size; a frame in the whole HQ shows where the crop is.

    Args:
        folder: a data set.
        name: the image's ``hq_path``, with or without folders and ending; ``set/hq_path`` tells
            equal names in two sets apart, and ``name@x,y,width,height`` the tiles of a photo.
        out: the PNG to write; default ``strips/<set>/<name>.png`` in the data set's folder.
        hq_roots: where HQ images are, overriding ``roots.toml``.

    Returns:
        The file that was written.

    Raises CirbenchError for an unknown or ambiguous name or an ``out`` that is no PNG, InputError
    when pixels cannot be read.
    """
    if out and out.suffix.lower() != ".png":
        raise CirbenchError(f"the strip is a PNG; give --out a name that ends in .png, not {out}")
    manifest = Manifest.open(folder, hq_roots).usable
    photo = _find(manifest, name)
    rows = list(manifest.filter(**photo))
    path = out or folder / "strips" / photo["set"] / f"{_without_ending(photo)}{_at(photo)}.png"
    return drawing.save(path, store.encode_png(_strip(manifest, rows)))


def _strip(manifest: Manifest, rows: list[dict[str, Any]]) -> RGB:
    hq = manifest.hq(rows[0])
    crop = drawing.busiest(hq, _CROP)

    def look(rgb: RGB) -> list[RGB]:
        return [_whole(rgb), drawing.enlarge(rgb[crop], _SCALE)]

    whole, detail = look(hq)
    height = whole.shape[0] + drawing.GAP + detail.shape[0]
    shape = drawing.Format(_SIDE, height, caption=18, title=24, below=3 * drawing.GAP)
    framed = _framed(whole, hq.shape, crop)
    return np.asarray(drawing.block(manifest, rows, shape, look, [framed, detail]))


def _whole(rgb: RGB) -> RGB:
    picture = Image.fromarray(rgb)
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _framed(whole: RGB, size: tuple[int, ...], crop: tuple[slice, slice]) -> RGB:
    """``whole`` with a frame around the crop, unless that is all of an image of this size."""
    rows, columns = crop
    if (rows.stop - rows.start, columns.stop - columns.start) == size[:2]:
        return whole
    picture = Image.fromarray(whole)
    down, across = picture.height / size[0], picture.width / size[1]
    box = (
        round(columns.start * across),
        round(rows.start * down),
        round(columns.stop * across) - 1,
        round(rows.stop * down) - 1,
    )
    draw = ImageDraw.Draw(picture)
    for inset, ink in ((0, drawing.INK), (1, drawing.PAPER)):  # seen on dark and on light
        draw.rectangle((box[0] + inset, box[1] + inset, box[2] - inset, box[3] - inset), None, ink)
    return np.asarray(picture)


def _find(manifest: Manifest, name: str) -> Photo:
    """The one HQ image called ``name``: the most exact kind of match wins."""
    photos = manifest.table.group_by(list(_KEYS)).aggregate([]).to_pylist()
    for names in (_full, _path, _without_ending, _stem):
        found = [photo for photo in photos if names(photo) + _at(photo) == name]
        if len(found) == 1:
            return dict(found[0])
        tiles = [photo for photo in photos if names(photo) == name and photo["tile"]]
        if found or tiles:
            what = "images" if found else "tiles"
            raise CirbenchError(
                f"{name!r} names {len(found or tiles)} {what} of {manifest.folder}; say which: "
                f"{_some([_full(photo) + _at(photo) for photo in found or tiles])}"
            )
    by_name = {kind(photo): _full(photo) for kind in (_full, _path, _stem) for photo in photos}
    close = difflib.get_close_matches(name, by_name, n=5)
    near = list(dict.fromkeys(by_name[one] for one in close))
    hint = f"did you mean {_some(near)}?" if near else f"it has {_some(list(by_name.values()))}"
    raise CirbenchError(f"{manifest.folder} has no image {name!r}; {hint}")


def _some(names: list[str], most: int = 5) -> str:
    names = sorted(set(names))
    rest = [f"and {len(names) - most} more"] if len(names) > most else []
    return ", ".join(names[:most] + rest)


def _at(photo: Photo) -> str:
    """What follows the name of a tile's photo."""
    return f"@{photo['tile']}" if photo["tile"] else ""


def _full(photo: Photo) -> str:
    return f"{photo['set']}/{photo['hq_path']}"


def _path(photo: Photo) -> str:
    return str(photo["hq_path"])


def _without_ending(photo: Photo) -> str:
    return str(PurePosixPath(photo["hq_path"]).with_suffix(""))


def _stem(photo: Photo) -> str:
    return PurePosixPath(photo["hq_path"]).stem
