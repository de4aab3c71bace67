"""``--splits``: by image, never by row; a ratio never moves an image because of another one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

import cirbench
from cirbench import splits
from cirbench.errors import CirbenchError
from cirbench.sources import Found
from cirbench.splits import Listed, Ratio

HASH = st.integers(0, 30).map("{:064x}".format)
SEED = st.integers(0, 2**32)


def found(*names: str) -> list[Found]:
    pairs = (name.split("/", 1) for name in names)
    return [Found(one, path, Path(), "", 1, 1) for one, path in pairs]


@given(st.lists(HASH, max_size=30), st.lists(HASH, max_size=10), SEED, st.floats(0, 1))
def test_adding_or_shuffling_images_moves_no_other(
    images: list[str], more: list[str], seed: int, share: float
) -> None:
    ratio = Ratio(share, seed)
    before = {image: ratio.of(image) for image in images}
    after = {image: Ratio(share, seed).of(image) for image in reversed(more + images)}
    assert all(after[image] == split for image, split in before.items())
    assert set(after.values()) <= {"train", "test"}


@given(st.lists(HASH, max_size=30), SEED, st.floats(0, 1))
def test_no_picture_is_in_two_splits(images: list[str], seed: int, share: float) -> None:
    hashes = {("ab"[n % 2], f"{n}.png"): sha256 for n, sha256 in enumerate(images)}
    ratio = Ratio(share, seed)
    assert not splits.conflicts(hashes, {key: ratio.of(one) for key, one in hashes.items()})


@given(HASH, SEED, st.floats(0, 1), st.floats(0, 1))
def test_larger_share_only_moves_images_to_train(
    image: str, seed: int, one: float, other: float
) -> None:
    small, large = sorted((one, other))
    assert (Ratio(small, seed).of(image), Ratio(large, seed).of(image)) != ("train", "test")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_share_is_about_what_was_asked_for(share: float) -> None:
    train = sum(Ratio(share).of(f"{n:064x}") == "train" for n in range(2000))
    assert abs(train / 2000 - share) < 0.04  # 3.6 standard deviations at 0.5


def test_another_seed_gives_another_assignment() -> None:
    images = [f"{n:064x}" for n in range(64)]
    assert [Ratio(0.5, 1).of(i) for i in images] != [Ratio(0.5, 2).of(i) for i in images]


@pytest.mark.parametrize(
    ("text", "train"),
    [("0.9", 0.9), ("1", 1), (".5", 0.5), ("train=0.9,test=0.1", 0.9), ("test=0.25", 0.75)],
)
def test_ratio_is_parsed(text: str, train: float) -> None:
    assert splits.parse(text, 7) == Ratio(train, 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.5", "shares lie between 0 and 1"),
        ("train=0.9,test=0.2", "add up to 1"),
        ("train=0.5,train=0.5", "names train twice"),
        ("val=0.5", "neither a file nor a ratio"),
        ("nowhere.csv", "neither a file nor a ratio"),
    ],
)
def test_bad_ratio_is_an_error(text: str, message: str) -> None:
    with pytest.raises(CirbenchError, match=message):
        splits.parse(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", 'path,split\n# a comment\n\na/x.png, train\n"b, c.png",test\n'),
        ("list.txt", '\ufeffa/x.png,train\n"b, c.png",test'),
        ("list.toml", 'train = ["a/x.png"]\ntest = [\n  "b, c.png",\n]\n'),
    ],
)
def test_lists_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    listed = splits.parse(str(tmp_path / name))
    assert isinstance(listed, Listed)
    assert listed.assign(found("s/a/x.png", "s/b, c.png", "s/d.png")) == {
        ("s", "a/x.png"): "train",
        ("s", "b, c.png"): "test",
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "a.png,train\nb.png,val\n", r"l\.csv line 2: 'b\.png,val' is not path,split"),
        ("l.csv", "a.png,train\nb.png\n", r"l\.csv line 2"),
        ("l.csv", "a.png,train\n\nzz.png,test\n", r"l\.csv line 3: no image .* 'zz\.png'"),
        ("l.csv", "a.png,train\na.png,test\n", r"l\.csv line 2: 'a\.png' is test here and train"),
        ("l.csv", "same.png,test\n", r"l\.csv line 1: 'same\.png' is in s and t; write s/same"),
        ("l.csv", "# nothing\n", "lists no images"),
        ("l.toml", 'train = [\n"a.png",\n"zz.png"]', r"l\.toml line 3: no image"),
        ("l.toml", 'train = ["a.png"]\nval = ["b.png"]', r"l\.toml line 2: val is not"),
        ("l.toml", "train = [,", r"l\.toml: .*line 1"),
    ],
)
def test_bad_list_names_file_and_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    images = found("s/a.png", "s/b.png", "s/same.png", "t/same.png")
    with pytest.raises(CirbenchError, match=message):
        splits.read(tmp_path / name).assign(images)


def split_of(out: Path) -> dict[tuple[str, str], set[str]]:
    """The splits of the rows of every image."""
    rows: dict[tuple[str, str], set[str]] = {}
    for row in cirbench.Manifest.open(out):
        rows.setdefault((row["set"], row["hq_path"]), set()).add(row["split"])
    return rows


def test_build_splits_by_image_and_not_by_row(photos: Path, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    for file in photos.iterdir():
        Pillow.open(file).save(copies / f"{file.stem}-copy.bmp")
    places = [f"a={photos}", f"b={copies}"]
    kwargs = {"codec": "jpeg", "splits": 0.5, "split_seed": 1, "jobs": 1}
    cirbench.build(places, out=tmp_path / "out", quality=[5, 10], **kwargs)
    found = split_of(tmp_path / "out")
    assert all(len(names) == 1 for names in found.values())
    for file in photos.iterdir():
        assert found["a", file.name] == found["b", f"{file.stem}-copy.bmp"]
    cirbench.build(places[1:], out=tmp_path / "alone", quality=5, **kwargs)
    assert split_of(tmp_path / "alone").items() <= found.items()


def test_build_with_a_list_changes_a_split_for_all_rows(photos: Path, tmp_path: Path) -> None:
    listed = tmp_path / "splits.csv"
    kwargs = {"codec": "jpeg", "out": tmp_path / "out", "jobs": 1}
    for split in ("train", "test"):
        listed.write_text(f"coffee.png,{split}\na/chelsea.png,test\n")
        cirbench.build(f"a={photos}", quality=[5, 10], splits=listed, **kwargs)
        assert split_of(tmp_path / "out") == {
            ("a", "coffee.png"): {split},
            ("a", "chelsea.png"): {"test"},
            ("a", "astronaut.png"): {""},
        }
    cirbench.build(f"a={photos}", quality=15, **kwargs)  # recorded, also for new rows
    assert split_of(tmp_path / "out")["a", "coffee.png"] == {"test"}


def test_build_refuses_to_put_one_picture_into_both_splits(photos: Path, tmp_path: Path) -> None:
    (photos / "twin.png").write_bytes((photos / "coffee.png").read_bytes())
    (tmp_path / "l.csv").write_text("coffee.png,train\ntwin.png,test\nchelsea.png,test\n")
    with pytest.raises(CirbenchError, match=r"a/coffee\.png into train and a/twin\.png into test"):
        cirbench.build(
            f"a={photos}", codec="jpeg", quality=5, out=tmp_path / "out", splits=tmp_path / "l.csv"
        )
    assert set().union(*split_of(tmp_path / "out").values()) == {""}  # the rows are there


def test_split_and_splits_contradict(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(CirbenchError, match="contradict"):
        cirbench.build(photos, codec="jpeg", out=tmp_path / "out", split="train", splits=0.5)
