"""Finding HQ images: order, names, symlinks, and the sample set."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cirbench import samples
from cirbench.errors import CirbenchError, UnavailableError
from cirbench.resources import data_dir
from cirbench.samples import sample_source
from cirbench.sources import Source, find, parse_sources, read


def make(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    return root


def paths(root: Path) -> list[str]:
    return [found.path for found in find(Source("s", root, ""))]


def problems(root: Path) -> dict[str, str]:
    return {found.path: found.problem for found in find(Source("s", root, "")) if found.problem}


def test_finds_image_extensions_below_the_root_in_code_point_order(tmp_path: Path) -> None:
    wanted = ["a-b.png", "a.PNG", "a/x.JPeG", "a/y/z.tif", "b.webp", "b0.bmp", "é.jpg", "日本.tiff"]
    names = [*wanted, "a.txt", ".hidden.png", ".git/x.png", "a/.y/z.png", "png", "x.gif"]
    random.Random(1).shuffle(names)
    assert paths(make(tmp_path, *names)) == sorted(wanted)


def test_says_size_time_and_split(tmp_path: Path) -> None:
    make(tmp_path, "deep/x.png")
    (found,) = find(Source("live1", tmp_path, "test"))
    status = (tmp_path / "deep/x.png").stat()
    assert (found.set, found.split, found.problem) == ("live1", "test", "")
    assert (found.size, found.mtime_ns) == (1, status.st_mtime_ns)
    assert found.file == tmp_path / "deep/x.png"


def test_unicode_names_stay_as_they_are(tmp_path: Path) -> None:
    names = {"caf\u00e9.png", "cafe\u0301.png"}  # composed and decomposed
    make(tmp_path, *names)
    assert set(paths(tmp_path)) == set(os.listdir(tmp_path))


def test_a_linked_folder_is_followed_once(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/x.png")
    root = make(tmp_path, "root/y.png").joinpath("root")
    (root / "link1").symlink_to(tmp_path / "elsewhere")
    (root / "link2").symlink_to(tmp_path / "elsewhere")
    (root / "z.png").symlink_to(tmp_path / "elsewhere/x.png")
    assert paths(root) == ["link1/x.png", "y.png", "z.png"]


def test_symlink_loops_end_with_one_problem_each(tmp_path: Path) -> None:
    root = make(tmp_path, "root/a/x.png", "root/b/y.png").joinpath("root")
    (root / "a/up").symlink_to(root)
    (root / "a/to_b").symlink_to(root / "b")
    (root / "b/to_a").symlink_to(root / "a")
    (root / "self").symlink_to("self")
    (root / "self.png").symlink_to("self.png")
    found = list(find(Source("s", root, "")))
    assert len(found) < 15
    assert {"a/x.png", "b/y.png"} <= {file.path for file in found if not file.problem}
    assert {"a/up", "self", "self.png"} <= {file.path for file in found if "loop" in file.problem}
    assert len({file.path for file in found}) == len(found)


def test_a_link_out_to_a_folder_around_the_root_does_not_come_back_in(tmp_path: Path) -> None:
    root = make(tmp_path, "root/x.png", "other.png").joinpath("root")
    (root / "out").symlink_to(tmp_path)
    assert paths(root) == ["out/other.png", "out/root", "x.png"]
    assert problems(root) == {"out/root": "out/root cannot be used: symlink loop"}


def test_what_cannot_be_used_is_found_with_a_problem(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "broken.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "broken").symlink_to("nowhere")
    found = problems(tmp_path)
    assert found["pipe.png"] == "pipe.png cannot be used: not a regular file"
    assert found["broken.jpg"].startswith("broken.jpg cannot be used: no such file")
    assert set(found) == {"pipe.png", "broken.jpg"}


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS file names are always UTF-8")
def test_a_name_that_is_not_utf8_is_a_problem_that_can_be_written_down(tmp_path: Path) -> None:
    os.makedirs(os.fsencode(tmp_path) + b"/d\xff")
    with open(os.fsencode(tmp_path) + b"/d\xff/x.png", "wb"):
        pass
    (found,) = find(Source("s", tmp_path, ""))
    assert found.path.encode() == rb"d\xff/x.png"
    assert "UTF-8" in found.problem


def test_an_unreadable_folder_is_a_problem_and_an_unreadable_root_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "shut/x.png", "y.png")
    scandir = os.scandir

    def deny(folder: str) -> object:
        if folder.endswith("shut"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", deny)  # root may read everything, so chmod would not do
    assert paths(tmp_path) == ["shut", "y.png"]
    assert problems(tmp_path) == {"shut": "shut cannot be used: Permission denied"}
    with pytest.raises(CirbenchError, match="shut cannot be read: Permission denied"):
        list(find(Source("s", tmp_path / "shut", "")))


def test_sources_are_named_after_their_folders(tmp_path: Path) -> None:
    make(tmp_path, "LIVE1/x.png", "my photos (2)/y.png")
    first, second = parse_sources([f"{tmp_path}/LIVE1/", f"{tmp_path}/my photos (2)"], None, "test")
    assert first == Source("LIVE1", tmp_path / "LIVE1", "test")
    assert second == Source("my-photos--2-", tmp_path / "my photos (2)", "test")


def test_the_working_folder_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make(tmp_path, "set5/x.png") / "set5")
    assert parse_sources(["."], None, None) == [Source("set5", Path.cwd(), "")]


def test_names_given_win(tmp_path: Path) -> None:
    make(tmp_path, "a/x.png", "b/x.png")
    named = parse_sources([f"one={tmp_path}/a", f"{tmp_path}/b"], "two", None)
    assert [(source.set, source.root.name) for source in named] == [("one", "a"), ("two", "b")]


def test_folders_of_one_name_are_told_apart_by_their_parents(tmp_path: Path) -> None:
    make(tmp_path, "a/photos/x.png", "b/photos/x.png", "p/c/Photos/x.png", "q/c/Photos/x.png")
    args = [f"{tmp_path}/{part}" for part in ("a/photos", "b/photos")]
    assert [source.set for source in parse_sources(args, None, None)] == ["a-photos", "b-photos"]
    args += [f"{tmp_path}/{part}" for part in ("p/c/Photos", "q/c/Photos")]
    sources = parse_sources(args, None, None)
    assert [source.set for source in sources] == [
        "a-photos", "b-photos", "p-c-Photos", "q-c-Photos",
    ]  # fmt: skip


def test_a_single_file_brings_only_itself(tmp_path: Path) -> None:
    make(tmp_path, "d/x.jfif", "d/y.png", "d/z.png")
    (source,) = parse_sources([f"{tmp_path}/d/y.png", f"{tmp_path}/d/x.jfif"], None, "train")
    assert (source.set, source.root) == ("d", tmp_path / "d")
    found = list(find(source))
    assert [(file.path, file.split) for file in found] == [("x.jfif", "train"), ("y.png", "train")]


def test_one_folder_twice_is_one_source(tmp_path: Path) -> None:
    make(tmp_path, "d/y.png", "d/z.png")
    (tmp_path / "link").symlink_to(tmp_path / "d")
    args = [f"{tmp_path}/d", f"{tmp_path}/d/y.png", f"{tmp_path}/d/../link"]
    (source,) = parse_sources(args, None, None)
    assert paths(source.root) == ["y.png", "z.png"]
    assert source.files == ()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["x={}/a", "x={}/b"], "would both be called 'x'.*NAME=PATH"),
        (["x={}/a", "X={}/b"], "would both be called"),  # one folder on macOS
        (["{}/nowhere"], "nowhere does not exist"),
        (["x={}/nowhere"], "nowhere does not exist"),
        (["../x={}/a"], "does not exist"),
        (["a b={}/a"], "cannot be the name of a set"),
        (["..={}/a"], "cannot be the name of a set"),
        (["x="], "not PATH or NAME=PATH"),
        (["={}/a"], "not PATH or NAME=PATH"),
        ([""], "not PATH or NAME=PATH"),
        (["/dev/null"], "neither a folder nor a file"),
    ],
)
def test_bad_sources_are_errors(tmp_path: Path, args: list[str], words: str) -> None:
    make(tmp_path, "a/x.png", "b/x.png")
    with pytest.raises(CirbenchError, match=words):
        parse_sources([arg.format(tmp_path) for arg in args], None, None)


def test_the_sample_photos_are_what_their_list_says() -> None:
    listed = tomllib.loads((data_dir("manifests") / "sets/sample.toml").read_text())["photo"]
    found = list(find(sample_source()))
    assert [file.path for file in found] == sorted(photo["file"] for photo in listed)
    for photo in listed:
        (file,) = (file for file in found if file.path == photo["file"])
        rgb = read(file.file).rgb
        assert (file.set, file.split, file.problem) == ("sample", photo["split"], "")
        assert rgb.shape == (photo["height"], photo["width"], 3)
        assert hashlib.sha256(rgb).hexdigest() == photo["sha256"]
    splits = [file.split for file in found]
    assert set(splits) == {"train", "test"}
    assert splits.count("test") >= 2


def test_the_sample_source_does_not_import_scikit_image() -> None:
    code = (
        "import sys; from cirbench.samples import sample_source; sample_source();"
        "assert 'skimage' not in sys.modules and 'tifffile' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_scikit_image_the_sample_set_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(samples, "find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match="pip install scikit-image"):
        sample_source()
