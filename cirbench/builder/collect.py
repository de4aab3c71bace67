"""Read collections of images for comparing: hashes of folders and of data sets' HQ images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
from tqdm import tqdm

from .. import manifest, recognise, sets, sources
from ..duplicates import BITS, Item, Signature, signature
from ..errors import InputError
from ..sets import KnownSet
from .store import pixel_sha256


@dataclass(frozen=True)
class Read:
    """One image read: what recognition needs, and its perceptual hash (zeros if not asked for)."""

    image: recognise.Image
    signature: Signature


def read_all(
    files: Mapping[str, Path], jobs: int | None, signatures: bool = False, quiet: bool = False
) -> list[Read]:
    """Decode and hash ``files`` (by the path they are called), in order.

    Files that are no usable images are left out. Shows progress on a terminal unless ``quiet``.
    """
    work = (joblib.delayed(_read)(path, file, signatures) for path, file in files.items())
    parallel = joblib.Parallel(n_jobs=jobs or -1, backend="threading", return_as="generator")
    bar = tqdm(parallel(work), total=len(files), unit="image", desc="hash", disable=quiet or None)
    return [one for one in bar if one is not None]


def _read(path: str, file: Path, signatures: bool) -> Read | None:
    try:
        rgb = sources.read(file).rgb
    except InputError:
        return None
    image = recognise.Image(path, rgb.shape[1], rgb.shape[0], pixel_sha256(rgb))
    return Read(image, signature(rgb) if signatures else np.zeros(BITS, np.int8))


def folder(source: sources.Source) -> dict[str, Path]:
    """The files of a source that may be images, by their paths inside it."""
    return {found.path: found.file for found in sources.find(source) if not found.problem}


def items(places: Sequence[str], known: Sequence[KnownSet], jobs: int | None) -> list[Item]:
    """Everything in ``places``, ready for :func:`cirbench.duplicates.find`.

    Args:
        places: data sets made by cirbench, and folders or files of images, each ``PATH`` or
            ``NAME=PATH``.
        known: gives the images of a recognised folder their splits.
        jobs: images at a time.

    Raises CirbenchError for a place that is neither, or a damaged data set.
    """
    data_sets = [place for place in places if (Path(place) / manifest.FILE_NAME).is_file()]
    found = []
    for place in data_sets:
        label = f"{Path(place).resolve().name}:" if len(places) > 1 else ""
        found += _of_data_set(manifest.Manifest.open(place), label, jobs)
    others = [place for place in places if place not in data_sets]
    for source in sources.parse_sources(others, None, None):
        read = read_all(folder(source), jobs, signatures=True)
        images = [one.image for one in read]
        one = sets.named(source.set, [*known]) or recognise.identify(images, known)
        splits = recognise.compare(one, images).splits if one else {}
        found += [
            Item(
                source.set, splits.get(r.image.path, ""), r.image.path, r.image.sha256, r.signature
            )
            for r in read
        ]
    return found


def _of_data_set(data: manifest.Manifest, label: str, jobs: int | None) -> list[Item]:
    columns = ["set", "split", "hq_root", "hq_path"]
    rows = data.usable.table.group_by(columns).aggregate([]).sort_by("hq_path").to_pylist()
    files = {str(number): data.hq_path(row) for number, row in enumerate(rows)}
    found = []
    for one in read_all(files, jobs, signatures=True):
        row = rows[int(one.image.path)]
        found.append(
            Item(label + row["set"], row["split"], row["hq_path"], one.image.sha256, one.signature)
        )
    return found
