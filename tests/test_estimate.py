"""What ``--dry-run`` says: measured on pieces of the photos, and nothing is left behind."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import astuple

import pytest

from cirbench import estimate, recipe, trial
from cirbench.builder.request import Request
from cirbench.sources import Source
from cirbench.trial import Price, Seconds, _price, _Timing


def timing(megapixels: float, once: float = 0.0) -> _Timing:
    seconds = once + 0.2 + 3 * megapixels
    return _Timing(megapixels, Seconds(4 * seconds, seconds), 1e6 * megapixels)


def both(cpu: float) -> tuple[float, float]:
    return 4 * cpu, cpu


def test_a_row_and_a_megapixel_and_the_first_row_are_told_apart() -> None:
    small, large = timing(0.004), timing(0.1)
    price = _price(timing(0.004, once=5), [[small, large], [small, large]])
    assert price is not None
    parts = [astuple(part) for part in (price.once, price.row, price.megapixel)]
    assert parts == [pytest.approx(both(cpu)) for cpu in (5, 0.2, 3)]
    assert price.bytes_per_megapixel == pytest.approx(1e6)
    assert astuple(price.of(10, 2)) == pytest.approx(both(5 + 10 * 0.2 + 2 * 3))


def test_photos_of_one_small_size_have_a_price_per_row_only() -> None:
    same = timing(0.004)
    assert _price(same, [[same, same]]) == Price(
        Seconds(), same.spent, Seconds(), pytest.approx(1e6)
    )
    assert _price(same, []) is _price(None, [[same, same]]) is None


def request(photos, tmp_path, tile=None) -> Request:
    paper = recipe.load("paper")
    tasks = recipe.select(paper, ["jpeg", "avc"], {"qf": ["5"], "qp": ["37"]})
    return Request(
        [Source("photos", photos, "")], tasks, paper, tmp_path / "out", jobs=1, tile=tile
    )


def test_many_small_tiles_cost_more_than_their_pixels(photos, tmp_path, monkeypatch) -> None:
    def timing(pictures, task, side, target) -> _Timing:
        each = 0.1 + side * side / 1e6
        return _Timing(side * side / 1e6, Seconds(9, each), 10)

    monkeypatch.setattr(trial, "_timing", timing)
    tiles, whole = (estimate.of(request(photos, tmp_path, tile), True) for tile in (16, None))
    assert tiles.tried == whole.tried == 3
    rows = len(tiles.tasks) * tiles.images
    assert sum(tiles.by_codec.values()) == pytest.approx(rows * (0.1 + 16 * 16 / 1e6), rel=0.01)
    assert sum(tiles.by_codec.values()) > 5 * sum(whole.by_codec.values())


def test_what_cannot_be_tried_goes_by_the_table(photos, tmp_path) -> None:
    for file in photos.iterdir():
        file.write_bytes(file.read_bytes()[:60])  # the header is whole: a size, and no pixels
    asked = request(photos, tmp_path)
    measured, table = estimate.of(asked, True), estimate.of(asked)
    assert measured.tried == 0 and measured == table


def test_a_dry_run_measures_and_leaves_nothing(photos, tmp_path) -> None:
    out = tmp_path / "out"
    line = [
        "build",
        photos,
        "--codec",
        "jpeg,avc",
        "--qp",
        37,
        "--qf",
        5,
        "--out",
        out,
        "--dry-run",
    ]
    # In a process of its own: CPU time is counted by process, with the children that end meanwhile.
    command = [sys.executable, "-m", "cirbench", *map(str, line)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "= 6 rows" in done.stdout and "measured here on pieces of 3 photos" in done.stdout
    assert "core-hours, $0.00 at $0.04 per core-hour" in done.stdout
    assert not out.exists()
