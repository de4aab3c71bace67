"""One flipped bit anywhere is found and its file named; stores can be converted and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cirbench
from cirbench import Manifest
from cirbench.errors import CirbenchError
from cirbench.materialize import materialize
from cirbench.verify import verify


@pytest.fixture(scope="module")
def built(_originals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("verify") / "out"
    cirbench.build(_originals, codec=["jpeg", "avc"], quality=[10], qp=[42], out=out, hq="copy")
    return out


FILES = (
    "lq/jpeg/qf10/{set}/coffee.png",
    "bitstreams/jpeg/qf10/{set}/coffee.jpg",
    "bitstreams/avc/qp42/{set}/chelsea.h264",
    "hq/{set}/astronaut.png",
    "manifest.parquet",
    "manifest.parquet.sha256",
)


@pytest.mark.parametrize("template", FILES)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_is_named(template, where, bit, built) -> None:
    file = built / template.format(set=Manifest.open(built).table["set"][0].as_py())
    whole = file.read_bytes()
    end = 64 if file.suffix == ".sha256" else len(whole)
    position = int(where * end)
    file.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :])
    try:
        problems = verify(built).problems
    finally:
        file.write_bytes(whole)
    assert any(file.name in problem for problem in problems), problems
    assert verify(built, decode=True).problems == []


def test_a_missing_file_is_named(photos, tmp_path) -> None:
    out = tmp_path / "out"
    cirbench.build(photos, codec="jpeg", quality=[10], out=out)
    gone = [out / "lq/jpeg/qf10/photos/coffee.png", out / "bitstreams/jpeg/qf10/photos/chelsea.jpg"]
    for file in [*gone, photos / "astronaut.png"]:
        file.unlink()
    problems = verify(out).problems
    assert len(problems) == 3
    for file in ("coffee.png", "chelsea.jpg", "astronaut.png"):
        assert any(file in problem for problem in problems)


def test_decode_notices_a_row_whose_recorded_pixels_are_wrong(photos, tmp_path) -> None:
    from cirbench import __version__, manifest
    from cirbench.builder.journal import Journal

    out = tmp_path / "out"
    cirbench.build(photos, codec="jpeg", quality=[10], out=out, store_mode="bitstream")
    with Journal(out) as journal:
        row_id = Manifest.open(out).table["row_id"][0].as_py()
        journal.update(row_id, lq_sha256="0" * 64, decoder_version="libjpeg 6b")
        manifest.write(out, journal, __version__)
    assert verify(out).problems == []
    (problem,) = verify(out, decode=True).problems
    assert "made with libjpeg 6b, this machine has libjpeg-turbo" in problem


def test_stores_convert_into_each_other_and_back(photos, tmp_path) -> None:
    png, bitstream = tmp_path / "png", tmp_path / "bitstream"
    wanted = {"codec": ["jpeg", "avc"], "quality": [10], "qp": [42]}
    cirbench.build(photos, out=png, **wanted)
    cirbench.build(photos, out=bitstream, store_mode="bitstream", **wanted)
    before = (bitstream / "manifest.parquet").read_bytes()
    assert materialize(bitstream, "png") == (6, 0)
    assert (bitstream / "manifest.parquet").read_bytes() == (png / "manifest.parquet").read_bytes()
    assert verify(bitstream, decode=True).problems == []
    assert materialize(bitstream, "bitstream-only") == (0, 6)
    assert not list(bitstream.glob("lq/**/*.png"))
    assert (bitstream / "manifest.parquet").read_bytes() == before
    assert cirbench.build(photos, out=bitstream, **wanted).skipped == 6


def test_pixels_that_cannot_be_made_again_are_never_removed(photos, tmp_path) -> None:
    out = tmp_path / "out"
    cirbench.build(photos, codec="jpeg", quality=[10], out=out)
    (out / "bitstreams/jpeg/qf10/photos/coffee.jpg").write_bytes(b"lost")
    with pytest.raises(CirbenchError, match="libjpeg cannot decode"):
        materialize(out, "bitstream", jobs=1)
    assert (out / "lq/jpeg/qf10/photos/coffee.png").exists()


def test_a_folder_without_a_data_set_says_so(tmp_path) -> None:
    with pytest.raises(CirbenchError, match="make one with: cirbench build"):
        verify(tmp_path)
    with pytest.raises(CirbenchError, match="only a data set built here"):
        materialize(tmp_path, "png")


def test_a_mode_that_does_not_exist_removes_nothing(photos, tmp_path) -> None:
    cirbench.build(photos, codec="jpeg", quality=[10], out=tmp_path / "out")
    before = sorted((tmp_path / "out").rglob("*.png"))
    with pytest.raises(CirbenchError, match="store cannot be 'pgn'; it is one of png, "):
        materialize(tmp_path / "out", "pgn")
    assert before and sorted((tmp_path / "out").rglob("*.png")) == before
