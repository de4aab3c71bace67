"""The golden manifest is what is built here, or a library's version says why not."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

import cirbench
from cirbench import Manifest, golden

HASHES = ("bitstream_sha256", "lq_sha256")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[golden.Row], dict]:
    """The sample photos through recipe quick: two jobs, no pixels stored."""
    out = tmp_path_factory.mktemp("golden") / "out"
    return out, *golden.make(out, jobs=2)


def test_the_golden_manifest_matches(built) -> None:
    _, rows, missing = built
    found = golden.compare(golden.read(), rows, missing)
    assert not found.changed, f"{found.changed}; meant? run: python -m cirbench.golden --write"
    assert found.equal or found.explained
    for line in found.explained:
        warnings.warn(line, stacklevel=1)


def test_jobs_and_stores_do_not_show_in_ids_and_hashes(built, tmp_path) -> None:
    out, rows, _ = built
    for store, jobs in (("png", 1), ("bitstream", 3)):
        again = tmp_path / store
        cirbench.build(recipe_name="quick", out=again, store_mode=store, jobs=jobs, limit=1)
        part = golden.rows(Manifest.open(again))
        assert part and part == [row for row in rows if row["hq_path"] == part[0]["hq_path"]]
    whole = {row["row_id"]: row for row in Manifest.open(out)}
    for row in Manifest.open(tmp_path / "png"):  # nothing but where pixels are
        assert row | {"lq_path": None} == whole[row["row_id"]]


def test_the_file_is_what_write_writes(built) -> None:
    assert golden.path().read_text(encoding="utf-8") == golden.text(golden.read())


def row(**columns: str) -> golden.Row:
    plain = dict.fromkeys(golden.COLUMNS, "same")
    return plain | {"hq_path": "a.png", "task": "jpeg-qf5"} | columns


def test_equal_bytes_need_no_equal_versions() -> None:
    found = golden.compare([row()], [row(encoder_version="x 2", decoder_version="y 2")])
    assert found == golden.Comparison(equal=1)


def test_other_bytes_of_another_encoder_are_explained_by_its_name() -> None:
    old = row(task="hevc-qp42", encoder_version="x265 3.5")
    new = row(task="hevc-qp42", encoder_version="x265 4.1", bitstream_sha256="b", lq_sha256="l")
    found = golden.compare([old], [new])
    assert found.explained == ["hevc-qp42 was made with x265 3.5, here with x265 4.1"]
    assert not found.changed


def test_a_decoder_explains_pixels_but_no_bitstream() -> None:
    new = row(decoder_version="libjpeg 9", lq_sha256="l")
    assert golden.compare([row()], [new]).explained == [
        "jpeg-qf5 was made with same, here with libjpeg 9"
    ]
    found = golden.compare([row()], [dict(new) | {"bitstream_sha256": "b"}])
    assert found.changed == ["a.png jpeg-qf5: bitstream_sha256, lq_sha256 changed, no version did"]


@pytest.mark.parametrize("column", HASHES)
def test_other_bytes_of_the_same_versions_are_a_change(column) -> None:
    found = golden.compare([row()], [row(**{column: "other"})])
    assert found.changed == [f"a.png jpeg-qf5: {column} changed, no version did"]


def test_other_pixels_of_a_jpeg_photo_are_explained_by_libjpeg() -> None:
    new = row(hq_path="a.jpg", row_id="other", decoder_version="libjpeg 9")
    found = golden.compare([row(hq_path="a.jpg")], [new])
    assert found.explained == ["a.jpg was read by same, here by libjpeg 9"]
    assert golden.compare([row()], [dict(new) | {"hq_path": "a.png"}]).changed


def test_rows_that_are_missing_or_new_are_named() -> None:
    old, new = row(task="vvc-qp42"), row(task="vvc-qp47")
    assert golden.compare([old], []).changed == ["a.png vvc-qp42 was not built"]
    assert golden.compare([old], [], {"vvc": "no libvvenc"}).explained == [
        "vvc cannot run here: no libvvenc"
    ]
    assert golden.compare([], [new]).changed == [
        "a.png vvc-qp47 is not in sample-quick.csv; write it anew"
    ]
