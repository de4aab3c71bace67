"""Exports, each opened by the library it is for and compared with the data set pixel by pixel."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import cirbench
from cirbench import Manifest
from cirbench.builder import store
from cirbench.cli import main
from cirbench.errors import CirbenchError
from cirbench.export.write import export
from cirbench.materialize import materialize

FORMATS = ("folders", "webdataset", "hf", "croissant", "card")


@pytest.fixture
def data(photos: Path, tmp_path: Path) -> Manifest:
    """Three photos in two tasks: two photos are for training, one is for testing."""
    train, test = tmp_path / "a", tmp_path / "b"
    train.mkdir()
    test.mkdir()
    for name, folder in (("chelsea", train), ("coffee", train), ("astronaut", test)):
        (photos / f"{name}.png").rename(folder / f"{name}.png")
    (train / "chelsea.png").rename(train / "été, v1.2 (x).png")  # a name that needs care
    options = {"codec": ["jpeg", "webp"], "level": ["10"], "out": tmp_path / "data"}
    cirbench.build(train, split="train", **options)
    cirbench.build(test, split="test", **options)
    return Manifest.open(tmp_path / "data")


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_folders_hold_the_pairs_that_the_lists_name(data, tmp_path) -> None:
    out = export(data.folder, "folders", tmp_path / "out").out
    for row in pq.read_table(out / "rows.parquet").to_pylist():
        for column, pixels in (("hq_file", data.hq(row)), ("lq_file", data.lq(row))):
            np.testing.assert_array_equal(imagecodecs.imread(out / row[column]), pixels)
    pairs = []
    for path in sorted((out / "meta_info").glob("*_*.txt")):
        task, split = path.stem.rsplit("_", 1)
        for line in path.read_text().splitlines():
            if task == "all":  # as Real-ESRGAN reads it
                hq, lq = line.split(", ")
                assert (out / hq).is_file() and (out / lq).is_file()
                pairs.append((split, lq))
            else:  # as BasicSR reads it
                name = line.strip().split(" ")[0]
                assert (out / "HQ" / name).is_file() and (out / "LQ" / task / name).is_file()
                height, width, _ = json.loads(
                    line.split(" ")[1].replace("(", "[").replace(")", "]")
                )
                assert imagecodecs.imread(out / "HQ" / name).shape == (height, width, 3)
                assert (split, f"LQ/{task}/{name}") in pairs
    assert len(pairs) == len(set(pairs)) == len(data) == 6
    assert sum(split == "test" for split, _ in pairs) == 2


@pytest.mark.parametrize("content", ["png", "bitstream"])
def test_webdataset_reads_every_pair(content, data, tmp_path) -> None:
    webdataset = pytest.importorskip("webdataset")
    cap = {"png": 70_000, "bitstream": 45_000}[content]
    done = export(data.folder, "webdataset", tmp_path / "out", content=content, shard_size=cap)
    urls = f"{done.out}/train-{{000000..000001}}.tar"
    assert "`train-{000000..000001}.tar`" in (done.out / "README.md").read_text()
    assert all(path.stat().st_size <= cap for path in done.out.glob("*.tar"))
    seen = []
    for where, split in ((urls, "train"), (f"{done.out}/test-000000.tar", "test")):
        only = ["hq.png", "json"] if content == "bitstream" else None
        samples = webdataset.WebDataset(where, shardshuffle=False).decode("rgb8", only=only)
        for sample in samples:
            for row in sample["json"]["rows"]:
                np.testing.assert_array_equal(sample["hq.png"], data.hq(row))
                if content == "png":
                    np.testing.assert_array_equal(sample[row["lq_file"]], data.lq(row))
                else:
                    assert sample[row["bitstream_file"]] == data.bitstream(row)
                assert row["split"] == split
                seen.append(row["row_id"])
    assert sorted(seen) == data.table["row_id"].to_pylist()


def test_datasets_opens_the_folder_with_image_columns(data, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    out = export(data.folder, "hf", tmp_path / "out").out
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 4, "test": 2}
    for split in loaded.values():
        for row in split:
            np.testing.assert_array_equal(np.asarray(row["hq"]), data.hq(row))
            np.testing.assert_array_equal(np.asarray(row["lq"]), data.lq(row))
            original = next(iter(data.filter(row_id=row["row_id"])))
            assert {name: row[name] for name in original} == original
    lean = export(data.folder, "hf", tmp_path / "lean", hq=False, split="test").out
    loaded = datasets.load_dataset(str(lean), cache_dir=str(tmp_path / "cache"))
    assert "hq" not in loaded["test"].features and len(loaded["test"]) == 2


def test_croissant_is_valid_and_its_records_are_the_pairs(data, tmp_path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    page = "https://example.org/cir"
    out = export(data.folder, "croissant", tmp_path / "out", url=page).out
    dataset = mlcroissant.Dataset(jsonld=str(out / "croissant.json"))
    assert not dataset.metadata.ctx.issues.errors and not dataset.metadata.ctx.issues.warnings
    hq, lq = (
        {r[f"{kind}/file"]: np.asarray(r[f"{kind}/image"]) for r in dataset.records(kind)}
        for kind in ("hq", "lq")
    )
    rows = {row["row_id"].encode(): row for row in data}
    for pair in dataset.records("pairs"):
        row = rows.pop(pair["pairs/row_id"])
        np.testing.assert_array_equal(hq[pair["pairs/hq_file"]], data.hq(row))
        np.testing.assert_array_equal(lq[pair["pairs/lq_file"]], data.lq(row))
        assert pair["pairs/bitstream_bytes"] == row["bitstream_bytes"]
    assert not rows


@pytest.mark.parametrize("name", FORMATS)
def test_two_exports_are_equal_and_their_checksums_hold(name, data, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first = export(data.folder, name, tmp_path / "one", jobs=1).out
    second = export(data.folder, name, tmp_path / "two", jobs=3).out
    assert files(first) == files(second)
    check = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    listed = len((first / "SHA256SUMS").read_text().splitlines())
    assert listed == len(files(first)) - 1
    subprocess.run(check, cwd=first, check=True)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_store_does_not_change_the_images(data, tmp_path) -> None:
    before = files(export(data.folder, "hf", tmp_path / "one").out)
    materialize(data.folder, "bitstream-only")
    after = files(export(data.folder, "hf", tmp_path / "two").out)
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] == after[name]} >= {
        name for name in before if name.endswith(".png")
    }


def test_without_hq_no_hq_pixel_leaves(data, tmp_path) -> None:
    for name in FORMATS:
        out = export(data.folder, name, tmp_path / name, hq=False, hq_roots={"a": tmp_path}).out
        assert not [path for path in files(out) if path.startswith("HQ") or "/HQ/" in path]
        assert "The HQ images are not here" in (out / "README.md").read_text() or name == "card"
    assert b"hq.png" not in (tmp_path / "webdataset" / "train-000000.tar").read_bytes()


def test_a_folder_that_is_something_else_is_left_alone(data, tmp_path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(CirbenchError, match="not empty and no export"):
        export(data.folder, "folders", out)
    with pytest.raises(CirbenchError, match="not empty and no export"):
        export(data.folder, "folders", data.folder)
    assert files(out).keys() == {"thesis.tex"}
    (out / "thesis.tex").unlink()
    export(data.folder, "folders", out)
    export(data.folder, "webdataset", out)  # replaces an export, whole
    assert not (out / "HQ").exists() and (out / "test-000000.tar").is_file()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(CirbenchError, match="also holds 'notes.txt'"):
        export(data.folder, "folders", out)


def test_a_damaged_data_set_is_not_published_and_the_old_export_stays(data, tmp_path) -> None:
    out = export(data.folder, "card", tmp_path / "out").out
    before = files(out)
    row = next(iter(data))
    other = store.encode_png(np.zeros((row["height"], row["width"], 3), np.uint8))
    (data.folder / row["lq_path"]).write_bytes(other)
    with pytest.raises(CirbenchError, match="other pixels than recorded"):
        export(data.folder, "folders", out)
    (data.folder / row["bitstream_path"]).write_bytes(b"x")
    with pytest.raises(CirbenchError, match="has changed"):
        export(data.folder, "webdataset", out, content="bitstream")
    assert files(out) == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_command_says_what_is_wrong_in_one_sentence(data, tmp_path) -> None:
    def run(*args: str, code: int) -> str:
        done = CliRunner().invoke(main, ["export", str(data.folder), *args])
        assert done.exit_code == code, done.output
        return done.output

    out = ["--out", str(tmp_path / "out")]
    assert "--format webdataset" in run("--format", "hf", "--content", "bitstream", *out, code=1)
    assert "no size" in run("--format", "webdataset", "--shard-size", "many", *out, code=2)
    text = run("--format", "webdataset", "--shard-size", "2 MB", "--split", "test", *out, code=0)
    assert "2 LQ images as webdataset" in text
    assert {p.name for p in (tmp_path / "out").glob("*.tar")} == {"test-000000.tar"}


def test_the_card_tells_recipe_counts_licence_and_encoders(data, tmp_path) -> None:
    text = (export(data.folder, "card", tmp_path / "out").out / "README.md").read_text()
    assert data.metadata["recipes"][0]["sha256"] in text
    assert "| a | train | 2 | 4 |" in text and "| b | test | 1 | 2 |" in text
    assert "not known to cirbench: ask whoever made the photos" in text
    assert next(iter(data))["encoder_version"] in text
    assert "jpeg-qf10" in text and "median" in text
