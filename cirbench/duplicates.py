"""Images that are in two sets or two splits: equal pixels, or the same picture coded again.

Near-duplicates are found by a perceptual hash: the signs of the lowest DCT coefficients of a small
grey version, against their median. Resizing, re-encoding and format do not move them much. Crops,
turned and mirrored copies are not recognised.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .codecs import RGB

_SIDE, _KEPT = 64, 16
BITS = _KEPT**2 - 1
"""Signs in a perceptual hash."""

THRESHOLD = 48
"""Largest Hamming distance of two copies of one picture.

Measured on the 529 photos of LIVE1 and BSDS500: copies at half the size or as JPEG QF 30, or both,
are at most 16 apart, at a quarter of the size 22, as JPEG QF 5 44; the most similar two of 139,656
pairs of different photos are 92 apart (``docs/sets.md``).
"""

_BLOCK = 2048  # rows compared at a time: 16 MB of distances

Signature = NDArray[np.int8]
"""(BITS,) of -1 and 1; all 0 for a flat image, which is at distance BITS / 2 from everything."""


@dataclass(frozen=True)
class Item:
    """One image to compare.

    Attributes:
        set, split, path: where it is.
        sha256: of its decoded pixels.
        signature: :func:`signature` of its pixels; not needed to find equal pixels.
    """

    set: str
    split: str
    path: str
    sha256: str
    signature: Signature = field(default_factory=lambda: np.zeros(BITS, np.int8), repr=False)

    @property
    def place(self) -> str:
        """The set, with the split when there is one."""
        return f"{self.set} ({self.split})" if self.split else self.set

    @property
    def label(self) -> str:
        """``set/path``, with the split when there is one."""
        return f"{self.set}/{self.path}" + (f" ({self.split})" if self.split else "")


@dataclass(frozen=True)
class Pair:
    """Two images that are the same picture; ``distance`` is 0 for equal pixels, else Hamming."""

    one: Item
    other: Item
    is_exact: bool
    distance: int

    @property
    def crosses_splits(self) -> bool:
        """One is for training, the other for testing."""
        return {self.one.split, self.other.split} == {"train", "test"}


def _dct_basis() -> NDArray[np.float64]:
    """The first rows of the DCT-II matrix (without its scaling, which no sign depends on)."""
    k, x = np.arange(_KEPT)[:, None], np.arange(_SIDE)[None]
    return np.asarray(np.cos(np.pi * k * (2 * x + 1) / (2 * _SIDE)), np.float64)


_BASIS = _dct_basis()


def signature(rgb: RGB) -> Signature:
    """Perceptual hash of an image, uint8 (H, W, 3): (BITS,) int8 of -1 and 1.

    Grey (ITU-R BT.601 luma), averaged down to 64x64, DCT-II, the 16x16 lowest frequencies without
    the mean, each above their median or not: the pHash of Zauner (2010), with more coefficients.
    """
    grey = Image.fromarray(rgb).convert("L")
    small = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float64)
    lowest = (_BASIS @ small @ _BASIS.T).ravel()[1:]
    if np.ptp(small) < 2:  # flat: only rounding noise is left
        return np.zeros(BITS, np.int8)
    return np.where(lowest > np.median(lowest), 1, -1).astype(np.int8)


def near(
    signatures: Sequence[Signature], threshold: int = THRESHOLD
) -> Iterator[tuple[int, int, int]]:
    """(i, j, Hamming distance) of all pairs i < j at most ``threshold`` apart, in order.

    The distances of +-1 vectors are a matrix product, taken block by block: 10,000 images need a
    few seconds and little memory.
    """
    if not signatures:
        return
    signs = np.stack(signatures).astype(np.float32)
    for start in range(0, len(signs), _BLOCK):
        products = signs[start : start + _BLOCK] @ signs[start:].T
        rows, columns = np.nonzero(products >= BITS - 2 * threshold)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if row < column:
                distance = int(BITS - products[row, column]) // 2
                yield start + row, start + column, distance


def find(items: Sequence[Item], threshold: int = THRESHOLD, within: bool = False) -> list[Pair]:
    """Pairs of images that are the same picture, in two sets or two splits.

    Args:
        items: all images.
        threshold: see :data:`THRESHOLD`; -1 finds equal pixels only.
        within: also pairs inside one split of one set.

    Returns:
        Exact pairs first, then near ones by distance; by label within each. Of many equal images,
        each is paired with the first of every other group only.
    """
    pairs = [Pair(one, other, True, 0) for one, other in _equal(items, within)]
    if threshold >= 0:
        close = near([item.signature for item in items], threshold)
        pairs += [
            Pair(items[i], items[j], False, distance)
            for i, j, distance in close
            if items[i].sha256 != items[j].sha256 and (within or _apart(items[i], items[j]))
        ]
    return sorted(pairs, key=lambda p: (not p.is_exact, p.distance, p.one.label, p.other.label))


def summary(pairs: Sequence[Pair], listed: int = 3) -> list[str]:
    """One line for every two places that share images, with a few of them."""
    groups: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.one.place, pair.other.place].append(pair)
    lines = []
    for (one, other), group in groups.items():
        some = ", ".join(
            f"{p.one.set}/{p.one.path} is {p.other.set}/{p.other.path}" for p in group[:listed]
        )
        more = f" and {len(group) - listed} more" if len(group) > listed else ""
        lines.append(f"{one} and {other} share images ({len(group)}): {some}{more}")
    return lines


def _apart(one: Item, other: Item) -> bool:
    return (one.set, one.split) != (other.set, other.split)


def _equal(items: Sequence[Item], within: bool) -> Iterator[tuple[Item, Item]]:
    """Pairs of equal pixels: the first image of every place, and with ``within`` its copies."""
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.sha256].append(item)
    for group in groups.values():
        first: dict[tuple[str, str], Item] = {}
        for item in group:
            place = (item.set, item.split)
            if place in first:
                if within:
                    yield first[place], item
                continue
            yield from ((other, item) for other in first.values())
            first[place] = item
