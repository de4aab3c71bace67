"""CIRDataset: aligned pairs, reproducible crops, whatever the workers, cached or not."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow as pa
import pytest
from conftest import crop

import cirbench
from cirbench import sources
from cirbench.builder import store
from cirbench.data import reader, transforms
from cirbench.data.sampler import TaskSampler
from cirbench.errors import CirbenchError, InputError

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader  # noqa: E402

from cirbench import CIRDataset  # noqa: E402

SIZE = 40


@pytest.fixture(scope="module")
def photos_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, size in (("chelsea.png", (150, 120)), ("coffee.png", (101, 165))):
        (folder / name).write_bytes(imagecodecs.png_encode(crop(name, size)))
    return folder


@pytest.fixture(scope="module")
def data(photos_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos as JPEG and WebP at two levels: eight rows, no stored pixels."""
    out = tmp_path_factory.mktemp("data") / "set"
    cirbench.build(
        photos_folder, codec=["jpeg", "webp"], quality=[10, 20], out=out, store_mode="bitstream"
    )
    return out


def samples(data: CIRDataset, items: object = None) -> list[bytes]:
    items = range(len(data)) if items is None else items
    return [data[item]["lq"].numpy().tobytes() for item in items]


def forbid_whole_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("hq", "lq"):
        monkeypatch.setattr(cirbench.Manifest, name, lambda *_: pytest.fail("a whole picture"))


def test_a_sample_is_the_same_place_of_both_pictures(data: Path) -> None:
    dataset = CIRDataset(data, size=SIZE, pixels="uint8", seed=4)
    manifest = cirbench.Manifest.open(data).usable
    for _ in range(2):  # whole files and hashes first, then only the rows needed
        for epoch in range(4):
            dataset.set_epoch(epoch)
            for index, row in enumerate(manifest):
                rng = transforms.generator(4, epoch, index)
                box, turned = dataset.transform.draw(rng, row["height"], row["width"])
                item = dataset[index]
                assert item["row_id"] == row["row_id"] and item["task"] == row["task"]
                for name, whole in (("hq", manifest.hq(row)), ("lq", manifest.lq(row))):
                    expected = transforms.turn(transforms.cut(whole, box), turned)
                    assert np.array_equal(item[name].permute(1, 2, 0).numpy(), expected)


def test_later_reads_decode_no_whole_photo(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = CIRDataset(data, size=SIZE, flips=False)
    samples(dataset)
    forbid_whole_pictures(monkeypatch)
    rows = [dataset._reader.row(index) for index in range(len(dataset))]
    for index, row in enumerate(rows):
        box = (10, 20, SIZE, SIZE)
        assert dataset._reader.hq(index, row, box).shape == (SIZE, SIZE, 3)
        assert dataset._reader.lq(index, row, box).shape == (SIZE, SIZE, 3)


def test_items_have_the_stated_types(data: Path) -> None:
    item = CIRDataset(data, size=SIZE)[0]
    assert item["lq"].shape == item["hq"].shape == (3, SIZE, SIZE)
    assert item["hq"].dtype == torch.float32 and 0 <= item["hq"].min() < item["hq"].max() <= 1
    as_bytes = CIRDataset(data, size=SIZE, pixels="uint8")[0]
    assert torch.equal(item["hq"], as_bytes["hq"] / 255)
    assert isinstance(item["task_id"], int) and item["task"] == f"{item['codec']}-{item['level']}"
    for kind in ("resize", "none"):
        item = CIRDataset(data, transform=kind, size=SIZE)[0]
        assert (item["hq"].shape == (3, SIZE, SIZE)) == (kind == "resize")
        assert item["hq"].shape == item["lq"].shape


def test_the_same_seed_gives_the_same_samples_with_any_number_of_workers(data: Path) -> None:
    dataset = CIRDataset(data, size=SIZE, seed=1)
    sampler = TaskSampler(dataset.tasks, seed=1)
    batches = []
    for workers in (0, 2):
        sampler.set_epoch(1 - sampler.epoch)
        sampler.set_epoch(0)
        loader = DataLoader(dataset, batch_size=3, sampler=sampler, num_workers=workers)
        batches.append([b["lq"] for _ in range(2) for b in loader])  # two epochs
    one, two = batches
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one[:3], one[3:], strict=True))
    assert dataset._reader.checked.all()  # what the workers checked is known here


def test_set_epoch_reaches_running_workers(data: Path) -> None:
    dataset = CIRDataset(data, size=SIZE)
    loader = DataLoader(dataset, batch_size=8, num_workers=1, persistent_workers=True)
    seen = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        seen.append(next(iter(loader))["hq"])
    assert torch.equal(seen[0], seen[2]) and not torch.equal(seen[0], seen[1])


def test_seeds_epochs_ranks_and_repeated_rows_give_other_crops(data: Path) -> None:
    dataset = CIRDataset(data, size=SIZE, seed=1)
    other = CIRDataset(data, size=SIZE, seed=2)
    assert samples(dataset) != samples(other)
    draws = [(0, epoch, number) for epoch in range(3) for number in range(8)]
    made = samples(dataset, [cirbench.data.sampler.Draw(*draw) for draw in draws])
    assert len(set(made)) == len(draws)
    one, two = (TaskSampler(["a"], rank=rank, world_size=2) for rank in (0, 1))
    assert samples(dataset, one) != samples(dataset, two)  # the same row on two ranks


@pytest.mark.parametrize("kind", ["crop", "resize", "none"])
def test_the_cache_changes_no_pixel(
    data: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = CIRDataset(data, transform=kind, size=SIZE)
    cached = CIRDataset(data, transform=kind, size=SIZE, cache=tmp_path)
    expected = samples(plain)
    assert samples(cached) == expected == samples(cached)
    assert len(list(tmp_path.glob("*/*.tiles"))) == 2 + 8
    with monkeypatch.context() as patch:
        forbid_whole_pictures(patch)
        assert samples(CIRDataset(data, transform=kind, size=SIZE, cache=tmp_path)) == expected
    for entry in tmp_path.glob("*/*.tiles"):
        entry.write_bytes(entry.read_bytes()[:-5000])
    assert samples(cached) == expected


def test_a_full_cache_changes_no_pixel(data: Path, tmp_path: Path) -> None:
    cached = CIRDataset(data, size=SIZE, cache=tmp_path, cache_gb=2e-4)
    for _ in range(2):
        assert samples(cached) == samples(CIRDataset(data, size=SIZE))
    assert 0 < sum(file.stat().st_size for file in tmp_path.glob("*/*.tiles")) <= 2e5


def test_a_changed_photo_is_refused(photos_folder: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for file in photos_folder.iterdir():
        (photos / file.name).write_bytes(file.read_bytes())
    cirbench.build(photos, codec="jpeg", quality=10, out=tmp_path / "set")
    for file in photos.iterdir():
        file.write_bytes(imagecodecs.png_encode(255 - sources.read(file).rgb))
    with pytest.raises(InputError, match="sha256 differs"):
        CIRDataset(tmp_path / "set", size=SIZE)[0]


def test_the_config_tells_what_was_chosen(data: Path) -> None:
    dataset = CIRDataset(data, size=SIZE, seed=7, codec=["jpeg"])
    config = json.loads(json.dumps(dataset.config))
    assert (config["kind"], config["size"], config["flips"], config["seed"]) == (
        "crop",
        40,
        True,
        7,
    )
    assert config["wanted"] == {"codec": ["jpeg"]} and config["rows"] == len(dataset) == 4
    assert config["tasks"] == ["jpeg-qf10", "jpeg-qf20"]
    assert dataset.config != CIRDataset(data, size=SIZE, seed=7, codec=["webp"]).config
    assert "shorter side" in CIRDataset(data, transform="resize").config["filter"]


def test_wrong_choices_are_one_sentence(data: Path) -> None:
    for options, words in (
        ({"size": 110}, "4 pictures are smaller than the crop of 110, coffee.png"),
        ({"transform": "zoom"}, "one of crop, resize, none"),
        ({"pixels": "float16"}, "float32, uint8"),
        ({"seed": -1}, "at least 0"),
        ({"codec": "hevc"}, "no usable row with codec='hevc'"),
    ):
        with pytest.raises(CirbenchError, match=words):
            CIRDataset(data, **options)


def said_to_be(codec: str, data: Path, lq_path: str | None) -> cirbench.Manifest:
    """One JPEG row, said to be of another codec."""
    manifest = cirbench.Manifest.open(data).filter(task="jpeg-qf10", hq_path="chelsea.png")
    table = manifest.table
    for name, value in (("codec", codec), ("lq_path", lq_path)):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array([value], pa.string()))
    return cirbench.Manifest(manifest.folder, table, manifest.metadata)


def test_stored_pixels_are_read_where_decoding_takes_longer(data: Path) -> None:
    with pytest.raises(CirbenchError, match="1 rows of hific have no stored pixels"):
        CIRDataset(said_to_be("hific", data, None), size=SIZE)
    row = next(iter(cirbench.Manifest.open(data).filter(task="jpeg-qf10", hq_path="chelsea.png")))
    pixels = cirbench.Manifest.open(data).lq(row)
    store.write(data, "lq/one.png", store.encode_png(pixels))
    plain = CIRDataset(data, size=SIZE, seed=3, task="jpeg-qf10", hq_path="chelsea.png")
    for codec in ("hific", "vvc"):
        dataset = CIRDataset(said_to_be(codec, data, "lq/one.png"), size=SIZE, seed=3)
        for _ in range(2):
            assert samples(dataset) == samples(plain)
    store.write(data, "lq/one.png", store.encode_png(255 - pixels))
    with pytest.raises(InputError, match="other pixels than recorded"):
        CIRDataset(said_to_be("hific", data, "lq/one.png"), size=SIZE)[0]


def test_tiles_are_cut_out_of_their_photo(photos_folder: Path, tmp_path: Path) -> None:
    cirbench.build(photos_folder, codec="jpeg", quality=10, out=tmp_path / "set", tile=64)
    dataset = CIRDataset(tmp_path / "set", size=SIZE, pixels="uint8", flips=False)
    manifest = cirbench.Manifest.open(tmp_path / "set").usable
    assert len(dataset) == len(manifest) > 8
    for _ in range(2):
        for index, row in enumerate(manifest):
            rng = transforms.generator(0, 0, index)
            box, _ = dataset.transform.draw(rng, 64, 64)
            expected = transforms.cut(manifest.hq(row), box)
            assert np.array_equal(dataset[index]["hq"].permute(1, 2, 0).numpy(), expected)
    for row, hq, lq in cirbench.Pairs(tmp_path / "set"):
        assert hq.shape == lq.shape == (row["height"], row["width"], 3)


def test_a_data_set_can_be_sent_to_another_process(data: Path, tmp_path: Path) -> None:
    rows = cirbench.Manifest.open(data).usable
    sent = pickle.loads(pickle.dumps(reader.Reader(rows)))
    assert np.array_equal(sent.hq(0, sent.row(0), None), rows.hq(next(iter(rows))))
