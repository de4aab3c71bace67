"""What comes back from an export of bitstreams, and what is refused."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hostile import set_columns

import cirbench
from cirbench import Manifest, codecs
from cirbench.builder import store
from cirbench.cli import main
from cirbench.errors import CirbenchError
from cirbench.export.import_ import import_
from cirbench.export.write import export
from cirbench.materialize import materialize
from cirbench.verify import verify


@pytest.fixture
def data(photos: Path, tmp_path: Path) -> Manifest:
    cirbench.build(f"mine={photos}", codec=["jpeg", "webp"], level=["10"], out=tmp_path / "data")
    return Manifest.open(tmp_path / "data")


@pytest.fixture
def shards(data: Manifest, tmp_path: Path) -> Path:
    """An export of bitstreams with HQ images."""
    return export(data.folder, "webdataset", tmp_path / "shards", content="bitstream").out


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def edit(
    shards: Path, change: Callable[[dict[str, tuple[tarfile.TarInfo, bytes]]], object]
) -> None:
    """Rewrite the shard with ``change`` applied to its members."""
    path = shards / "all-000000.tar"
    with tarfile.open(path) as tar:
        members = {
            info.name: (info, file.read() if (file := tar.extractfile(info)) else b"")
            for info in tar
        }
    change(members)
    with tarfile.open(path, "w") as tar:
        for info, content in members.values():
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def rewrite_manifest(shards: Path, **columns: object) -> None:
    """Put one value in all rows of some columns, and make the checksums fit."""
    set_columns(shards / "manifest.parquet", **columns)
    lines = [
        f"{hashlib.sha256((shards / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("manifest.parquet", "timings.parquet")
    ]
    (shards / "manifest.parquet.sha256").write_text("".join(lines))


@pytest.mark.parametrize("mode", ["png", "bitstream-only"])
def test_the_same_data_set_comes_back(mode, data, tmp_path, photos) -> None:
    materialize(data.folder, mode)
    out = export(data.folder, "webdataset", tmp_path / "out", content="bitstream", jobs=2).out
    shutil.copytree(data.folder, tmp_path / "before")
    shutil.rmtree(data.folder)
    photos.rename(tmp_path / "gone")
    assert import_(out, data.folder, decode=True) == 6
    after, before = files(data.folder), files(tmp_path / "before")
    assert {name for name in before if name not in after} <= {
        "journal.sqlite",
        ".lock",
        "roots.toml",
    }
    assert all(after[name] == before[name] for name in before if name in after)
    report = verify(data.folder, decode=True)
    assert report.rows == 6 and not report.problems
    back = Manifest.open(data.folder)
    for row in back:
        assert back.hq(row).shape == (row["height"], row["width"], 3)
    result = cirbench.build(
        f"mine={tmp_path / 'gone'}", codec=["jpeg", "webp"], level=["10"], out=data.folder
    )
    assert (result.made, result.skipped) == (0, 6)


def test_stored_pixels_of_slow_codecs_travel_with_the_bitstreams(
    data, tmp_path, monkeypatch
) -> None:
    """Learned streams are only promised to decode where they were made."""
    slow = dataclasses.replace(codecs.get("jpeg"), decode_cost="slow")
    get = codecs.get
    monkeypatch.setattr(codecs, "get", lambda name: slow if name == "jpeg" else get(name))
    out = export(data.folder, "webdataset", tmp_path / "out", content="bitstream").out
    with tarfile.open(out / "all-000000.tar") as tar:
        assert {name for name in tar.getnames() if name.startswith("coffee.")} == {
            *("coffee.hq.png", "coffee.jpeg-qf10.jpg", "coffee.jpeg-qf10.png"),
            *("coffee.webp-qf10.webp", "coffee.json"),
        }
    import_(out, tmp_path / "again")
    back = files(tmp_path / "again")
    assert {name for name in files(data.folder) if name.startswith("lq/")} <= back.keys()
    edit(out, swap("coffee.jpeg-qf10.png", lambda _: black(49, 65)))
    with pytest.raises(CirbenchError, match="other pixels than its manifest says"):
        import_(out, tmp_path / "other")


def test_one_split_without_hq_comes_back_as_that(photos, tmp_path) -> None:
    test = tmp_path / "b"
    test.mkdir()
    (photos / "coffee.png").rename(test / "coffee.png")
    for folder, split in ((photos, "train"), (test, "test")):
        cirbench.build(folder, split=split, codec="jpeg", level="10", out=tmp_path / "data")
    options = {"content": "bitstream", "split": "test", "hq": False}
    out = export(tmp_path / "data", "webdataset", tmp_path / "out", **options).out
    assert import_(out, tmp_path / "again") == 1
    back = Manifest.open(tmp_path / "again", {"b": test})
    assert back.table.equals(Manifest.open(tmp_path / "data").filter(split="test").table)
    assert not verify(tmp_path / "again", hq_roots={"b": test}).problems
    assert not (tmp_path / "again" / "hq").exists()


def test_tiles_come_back_without_their_photo(photos, tmp_path) -> None:
    options = {"codec": "jpeg", "level": "10", "out": tmp_path / "data"}
    cirbench.build(f"mine={photos}", tile=48, **options)
    out = export(tmp_path / "data", "webdataset", tmp_path / "out", content="bitstream").out
    rows = import_(out, tmp_path / "again", decode=True)
    back = Manifest.open(tmp_path / "again", {"mine": photos})
    assert rows == len(back) > 3
    for row in back:
        assert back.hq(row).shape == (row["height"], row["width"], 3)  # its hash was compared


def add(name: str, content: bytes = b"x", **fields: object) -> Callable[[dict], object]:
    def change(members: dict) -> None:
        info = tarfile.TarInfo(name)
        for field, value in fields.items():
            setattr(info, field, value)
        members["new"] = (info, content)

    return change


def twice(members: dict) -> None:
    members["new"] = members["coffee.jpeg-qf10.jpg"]


def swap(name: str, change: Callable[[bytes], bytes]) -> Callable[[dict], object]:
    def swapped(members: dict) -> None:
        info, content = members[name]
        members[name] = (info, change(content))

    return swapped


def flip(content: bytes) -> bytes:
    return content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]


def black(height: int, width: int) -> bytes:
    return store.encode_png(np.zeros((height, width, 3), np.uint8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (add("../evil.jpg"), "leaves its folder; refused"),
        (add("a/../../evil.jpg"), "leaves its folder; refused"),
        (add("/etc/evil"), "leaves its folder; refused"),
        (add("l", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "link to '/etc/passwd'"),
        (add("l", b"", type=tarfile.LNKTYPE, linkname="coffee.json"), "link to 'coffee.json'"),
        (add("d", b"", type=tarfile.DIRTYPE), "no plain file; refused"),
        (add("p", b"", type=tarfile.FIFOTYPE), "no plain file; refused"),
        (add("roots.toml"), "does not list; refused"),
        (twice, "twice; refused"),
        (
            swap("coffee.jpeg-qf10.jpg", lambda b: b + b"\0" * 10**6),
            "bytes where its manifest says",
        ),
        (swap("coffee.hq.png", lambda b: b + b"\0" * 10**6), "bytes where its manifest says"),
        (swap("coffee.jpeg-qf10.jpg", flip), "sha256 differs"),
        (swap("coffee.hq.png", lambda _: black(49, 65)), "sha256 differs"),
        (swap("coffee.hq.png", lambda _: black(4000, 4000)[:9000]), "4000x4000"),
        (swap("coffee.hq.png", flip), "checksum differs"),
        (lambda members: members.pop("coffee.jpeg-qf10.jpg"), "lacks 1 of 12 members"),
    ],
)
def test_bad_members_are_refused_in_one_sentence(change, message, shards, tmp_path) -> None:
    edit(shards, change)
    inside = files(tmp_path)
    done = CliRunner().invoke(main, ["import", str(shards), "--out", str(tmp_path / "out")])
    assert done.exit_code == 1 and message in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert files(tmp_path) == inside  # nothing new anywhere, nothing half-written


def test_a_compressed_or_cut_shard_is_refused(shards, tmp_path) -> None:
    path = shards / "all-000000.tar"
    whole = path.read_bytes()
    for broken in (gzip.compress(whole), whole[: len(whole) // 2], b"no tar", b""):
        path.write_bytes(broken)
        with pytest.raises(CirbenchError, match="damaged or no tar|lacks"):
            import_(shards, tmp_path / "out")
    path.unlink()
    with pytest.raises(CirbenchError, match="is every shard there"):
        import_(shards, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"bitstream_path": "../evil.jpg"}, "leaves its folder"),
        ({"bitstream_path": "roots.toml"}, "puts a file at 'roots.toml'; refused"),
        ({"lq_path": "journal.sqlite"}, "puts a file at 'journal.sqlite'; refused"),
        ({"bitstream_path": "bitstreams/x.jpg"}, "twice; refused"),
        ({"settings": "[]"}, "does not fit its columns"),
        ({"hq_sha256": "0" * 64}, "does not fit its columns"),
        ({"lq_sha256": "0" * 64}, "decodes to other pixels"),
        ({"bitstream_sha256": "0" * 64}, "sha256 differs"),
    ],
)
def test_a_manifest_that_lies_is_refused(columns, message, shards, tmp_path) -> None:
    rewrite_manifest(shards, **columns)
    with pytest.raises(CirbenchError, match=message):
        import_(shards, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_folders_are_no_source_and_no_target(data, shards, tmp_path) -> None:
    with pytest.raises(CirbenchError, match="is not empty"):
        import_(shards, data.folder)
    with pytest.raises(CirbenchError, match="is no export of cirbench"):
        import_(data.folder, tmp_path / "out")
    pixels = export(data.folder, "webdataset", tmp_path / "pixels").out
    with pytest.raises(CirbenchError, match="--content bitstream"):
        import_(pixels, tmp_path / "out")
    about = json.loads((shards / "export.json").read_text()) | {"cirbench_export": 99}
    (shards / "export.json").write_text(json.dumps(about))
    with pytest.raises(CirbenchError, match="another version"):
        import_(shards, tmp_path / "out")
    (shards / "manifest.parquet").write_bytes(b"other")
    about["cirbench_export"] = 1
    (shards / "export.json").write_text(json.dumps(about))
    with pytest.raises(CirbenchError, match="is not the file manifest.parquet.sha256 was made"):
        import_(shards, tmp_path / "out")
