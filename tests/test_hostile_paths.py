"""Every file that names paths: none leads out of its folder, in a circle or into an exception."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hostile import set_columns

import cirbench
from cirbench import Manifest, roots
from cirbench.builder import store
from cirbench.cli import main
from cirbench.errors import CirbenchError, InputError
from cirbench.evaluation.match import match, place
from cirbench.export.write import export
from cirbench.sources import parse_sources

OUTSIDE = (
    *("/etc/passwd", "..", "../x.png", "a/../../x.png", "a/..", "//x.png", "x\0y.png", ".", ""),
    "./",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray) -> Path:
    folder = tmp_path_factory.mktemp("paths")
    (folder / "photos").mkdir()
    (folder / "photos" / "a.png").write_bytes(store.encode_png(photo))
    cirbench.build(f"mine={folder / 'photos'}", codec="jpeg", quality=[10], out=folder / "data")
    return folder / "data"


@pytest.fixture
def data(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "data")


def put(folder: Path, **columns: str) -> Path:
    set_columns(folder / "manifest.parquet", **columns)
    return folder


@pytest.mark.parametrize("column", ["hq_path", "lq_path", "bitstream_path"])
@pytest.mark.parametrize("path", OUTSIDE)
def test_a_manifest_names_nothing_outside(column, path, data) -> None:
    with pytest.raises(CirbenchError, match=f"in {column} leaves its folder; refused"):
        Manifest.open(put(data, **{column: path}))
    if path not in (".", "./"):
        with pytest.raises(CirbenchError, match="leaves its folder"):
            store.inside(data, path)


@pytest.mark.parametrize("name", ["..", ".", "a/b", "", "/"])
def test_a_root_is_a_plain_name(name, data) -> None:
    with pytest.raises(CirbenchError, match="root"):
        Manifest.open(put(data, hq_root=name))


@pytest.mark.parametrize(
    "name", ["x" * 300, "x" * 5000, "a/" * 3000 + "b", "..\\..\\x", "~", "$HOME"]
)
def test_odd_names_are_only_missing(name, data) -> None:
    manifest = Manifest.open(
        put(data, hq_path=name, lq_path=name, bitstream_path=f"a/b/c/d/{name}")
    )
    row = next(iter(manifest))
    for look in (manifest.hq, manifest.lq, manifest.bitstream):
        with pytest.raises(InputError, match="missing|cannot read"):
            look(row)
    assert place(row)[0] == "c"


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "..\\x"])
def test_roots_lead_nowhere_or_to_a_sentence(name, data) -> None:
    with pytest.raises(CirbenchError, match="hq-root"):
        roots.resolve(data, name)
    (data / "roots.toml").write_text(f"[roots]\nmine = {roots._quoted(name)}\n")
    manifest = Manifest.open(data)
    with pytest.raises(InputError, match="missing"):
        manifest.hq(next(iter(manifest)))


def test_a_set_called_like_a_path_is_written_inside(data, tmp_path) -> None:
    put(data, set="../../../evil", variant="../../evil", hq_path="../evil".replace("..", "__"))
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "out")}
    with pytest.raises(CirbenchError):  # the photo is missing; what was written is gone again
        export(data, "folders", tmp_path / "out")
    put(data, split="../../evil")
    with pytest.raises(CirbenchError, match="split is"):
        Manifest.open(data)
    assert {path for path in tmp_path.rglob("*") if path not in before} == set()


def test_a_bitstream_path_of_another_form_has_no_name() -> None:
    with pytest.raises(CirbenchError, match="is not bitstreams/CODEC/LEVEL/SET/NAME"):
        place({"bitstream_path": "a/b.jpg"})


@pytest.mark.parametrize("name", ["../x", "a/b", "-rf", ".hidden", "<b>", "=1+1", "a b", "x\n"])
def test_sets_have_plain_names(name, photos) -> None:
    with pytest.raises(CirbenchError):
        parse_sources([str(photos)], name, None)


@pytest.mark.parametrize("path", ["../x.png", "/etc/passwd", "a/../../x.png"])
def test_a_csv_of_outputs_names_nothing_outside(path, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "x.png").touch()
    (tmp_path / "x.csv").write_text(f"row_id,path\nr,{path}\n")
    with pytest.raises(CirbenchError, match="leaves its folder"):
        match(tmp_path / "out", [{"row_id": "r"}], table=tmp_path / "x.csv")


def test_links_in_a_circle_end(tmp_path) -> None:
    """Two of them: without a look at where they lead, a walk takes 2^40 turns."""
    row = {
        **dict.fromkeys(("row_id", "content_id", "set", "task", "kind", "level_value"), "r"),
        "codec": "jpeg",
        "level": "qf5",
        "hq_path": "a.png",
        "bitstream_path": "bitstreams/jpeg/qf5/s/a.jpg",
    }
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.png").touch()
    for name in ("one", "two", "sub/three"):
        (tmp_path / name).symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "again").symlink_to("sub")  # a second way in is one
    found = match(tmp_path, [row], "sub/{name}.png")
    assert found.paths == {"r": tmp_path / "sub" / "a.png"}
    assert match(tmp_path, [row], "again/{name}.png").paths == {"r": tmp_path / "again" / "a.png"}


def test_terminals_are_shown_no_control_characters(photos, tmp_path) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u202e.png"
    os.rename(photos / "coffee.png", photos / evil)
    out = tmp_path / "out"
    cirbench.build(photos, codec="jpeg", quality=[10], out=out)
    (photos / evil).write_bytes(b"no image")
    for args in (["verify", str(out)], ["show", evil, "--data", str(out)], ["table", evil]):
        shown = CliRunner().invoke(main, args)
        assert shown.exit_code in (1, 2)
        assert not set(shown.output) & {"\x1b", "\x07", "\u202e"}, args


def test_outputs_are_read_as_pixels_whatever_they_are_called(tmp_path) -> None:
    from cirbench.evaluation import outputs

    np.save(tmp_path / "x.npy", np.zeros((2, 2, 3), np.uint8))
    (tmp_path / "x.npy").rename(tmp_path / "x.png")
    with pytest.raises(InputError, match="is not a PNG"):
        outputs.read(tmp_path / "x.png")
