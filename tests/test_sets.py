"""Known image sets: their files, and recognising them by pixels."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import pytest
from click.testing import CliRunner
from PIL import Image as Pillow

import cirbench
from cirbench import cli, recognise, resources, sets
from cirbench.builder import build as builder
from cirbench.builder import collect, known
from cirbench.builder.request import Request, parse_sources
from cirbench.builder.store import pixel_sha256
from cirbench.errors import CirbenchError
from cirbench.recipe import load as load_recipe
from cirbench.recipe import select
from cirbench.recognise import Image
from cirbench.sources import Source, read

NAMES = ("astronaut", "chelsea", "coffee")


def images_of(folder: Path) -> list[Image]:
    source = Source("x", folder, "")
    return [one.image for one in collect.read_all(collect.folder(source), 1, quiet=True)]


def hashed_toml(folder: Path, split: str = "test") -> str:
    lines = []
    for file in sorted(folder.iterdir()):
        rgb = read(file).rgb
        lines.append(f"{file.stem} {rgb.shape[1]}x{rgb.shape[0]} {pixel_sha256(rgb)}")
    body = "\n".join(lines)
    head = 'title = "Toy"\nsource = "nowhere"\nlicence = "CC0"\n'
    return f'{head}[[split]]\nname = "{split}"\ncount = {len(lines)}\nimages = """\n{body}\n"""\n'


@pytest.fixture
def toy(photos: Path) -> sets.KnownSet:
    return sets.parse("toy", hashed_toml(photos))


@pytest.fixture
def toy_is_known(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the shipped sets plus ``toy``, the test's photos."""
    data = tmp_path / "manifests"
    (data / "sets").mkdir(parents=True)
    for file in (resources.data_dir("manifests") / "sets").iterdir():
        (data / "sets" / file.name).write_bytes(file.read_bytes())
    (data / "sets" / "toy.toml").write_text(hashed_toml(photos))
    monkeypatch.setattr(sets, "data_dir", lambda name: data)


def run(sources: list[str], out: Path, **options: object) -> list[str]:
    """What a build says; JPEG QF 5."""
    tasks = select(load_recipe("paper"), ["jpeg"], {"qf": ["5"]})
    found = parse_sources(sources, None, None)
    unnamed = known.unnamed(sources, None, found)
    request = Request(found, tasks, load_recipe("paper"), out, unnamed=unnamed, jobs=1, **options)
    said: list[str] = []
    builder.run(request, said.append)
    return said


def splits_of(out: Path) -> dict[tuple[str, str], str]:
    return {(row["set"], row["hq_path"]): row["split"] for row in cirbench.Manifest.open(out)}


# -- the files ------------------------------------------------------------------------------------


def test_shipped_sets_have_the_published_numbers_of_images() -> None:
    parts = {name: sets.load(name).parts for name in sets.names()}
    assert parts == {
        "bsds500": {"train": 200, "val": 100, "test": 200},
        "classic5": {"test": 5},
        "df2k": {"div2k": 800, "flickr2k": 2650},
        "div2k": {"train": 800, "valid": 100},
        "icb": {"test": 14},
        "kodak": {"test": 24},
        "live1": {"test": 29},
        "sample": {"train": 3, "test": 2},
    }


def test_hashes_are_known_for_live1_bsds500_and_the_sample_photos() -> None:
    hashed = [one for one in sets.load_all() if one.is_hashed]
    assert [one.name for one in hashed] == ["bsds500", "live1", "sample"]
    assert all(len(one.by_sha256) == len(one.images) and one.decoder for one in hashed)


def test_sample_hashes_are_those_of_the_photos_in_scikit_image() -> None:
    source = cirbench.samples.sample_source()
    files = {path: source.root / path for path, _ in source.files}
    read_images = [one.image for one in collect.read_all(files, 1, quiet=True)]
    report = recognise.compare(sets.load("sample"), read_images)
    assert report.is_complete and report.splits == dict(source.files)


def test_validation_images_of_bsds500_are_never_tested_on() -> None:
    assert {i.split for i in sets.load("bsds500").images if i.part == "val"} == {"train"}


def test_every_set_says_where_to_get_it_and_on_what_terms() -> None:
    assert all(one.source.startswith("https://") and one.licence for one in sets.load_all())


def test_ranges_and_alternative_sizes_are_expanded() -> None:
    kodak = sets.load("kodak").images
    assert (kodak[0].name, kodak[-1].name) == ("kodim01", "kodim24")
    assert kodak[3].sizes == ((768, 512), (512, 768))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("count = 3", "count = 4", "test lists 3 images, its count says 4"),
        ('name = "test"', 'name = "val"', "split 'val' must be one of train, test"),
        ("chelsea", "COFFEE", "the image 'coffee' is listed twice"),
        ("96x64", "96*64", "is not NAME"),
        ('licence = "CC0"', "", "the set needs a licence"),
    ],
)
def test_broken_set_file_is_named(
    photos: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = hashed_toml(photos)
    assert old in text
    (tmp_path / "bad.toml").write_text(text.replace(old, new))
    with pytest.raises(CirbenchError, match=rf"bad\.toml: .*{message}"):
        sets.load("bad", tmp_path)


def test_unknown_set_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(CirbenchError, match="no set is called 'live2'; did you mean live1"):
        sets.load("live2")


@pytest.mark.parametrize("text", ["live1", "LIVE1", "live-1", "Live_1"])
def test_names_are_compared_without_case_and_punctuation(text: str) -> None:
    assert sets.named(text, sets.load_all()) is not None


# -- recognising ----------------------------------------------------------------------------------


def test_set_is_recognised_in_other_names_and_formats(
    photos: Path, toy: sets.KnownSet, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for number, file in enumerate(sorted(photos.iterdir())):
        Pillow.open(file).save(other / f"IMG_{number}.bmp")
    assert recognise.identify(images_of(other), [toy]) is toy
    report = recognise.compare(toy, images_of(other))
    assert {path: image.name for path, image in report.found.items()} == {
        f"IMG_{number}.bmp": name for number, name in enumerate(NAMES)
    }
    assert report.line() == "toy: 3 of 3 images recognised" and report.is_complete


def test_missing_extra_altered_and_copied_images_are_told_apart(
    photos: Path, toy: sets.KnownSet
) -> None:
    (photos / "chelsea.png").unlink()
    (photos / "copy.png").write_bytes((photos / "coffee.png").read_bytes())
    rgb = read(photos / "astronaut.png").rgb.copy()
    rgb[0, 0] ^= 1
    (photos / "astronaut.png").write_bytes(imagecodecs.png_encode(rgb))
    (photos / "foo.png").write_bytes(imagecodecs.png_encode(rgb[:40]))
    report = recognise.compare(toy, images_of(photos))
    assert report.line("toy") == (
        "toy: 1 of 3; missing chelsea; extra foo.png, copy.png; altered astronaut.png"
    )
    assert report.splits == {"astronaut.png": "test", "coffee.png": "test", "copy.png": "test"}
    assert not report.is_complete


def test_long_lists_are_cut() -> None:
    live1 = sets.load("live1")
    report = recognise.compare(live1, [])
    assert report.line("live1").endswith("caps, carnivaldolls and 24 more")
    assert "womanhat" in report.line("live1", limit=None)


def test_only_the_parts_that_are_there_are_missed() -> None:
    bsds500 = sets.load("bsds500")
    of_test = [i for i in bsds500.images if i.part == "test"]
    given = [Image(f"{i.name}.jpg", *i.sizes[0], i.sha256) for i in of_test]
    line = recognise.compare(bsds500, given[1:]).line("bsds500")
    assert line == f"bsds500: 199 of 200 (test 199); missing {of_test[0].name}"
    assert recognise.identify(given, sets.load_all()) is not None


def test_set_without_hashes_is_compared_by_name_and_size_and_never_guessed() -> None:
    kodak = sets.load("kodak")
    given = [Image(f"KODIM{n:02}.png", 768, 512, f"{n:064}") for n in range(1, 25)]
    assert recognise.compare(kodak, given).line() == (
        "kodak: 24 of 24 images recognised by name and size, no pixel hashes are known"
    )
    resized = [Image("kodim01.png", 384, 256, "0" * 64), *given[1:]]
    assert [*recognise.compare(kodak, resized).altered] == ["kodim01.png"]
    assert recognise.identify(given, sets.load_all()) is None


def test_folder_with_many_other_images_is_not_the_set(photos: Path, toy: sets.KnownSet) -> None:
    others = [Image(f"{n}.png", 96, 64, f"{n:064}") for n in range(4)]
    images = images_of(photos)
    assert recognise.identify([*images, *others], [toy]) is None
    assert recognise.identify(images[:1], [toy]) is None
    memberships = recognise.recognise([*images, *others], [toy])
    assert sorted(memberships) == sorted(image.path for image in images)


# -- in a build -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("toy_is_known")
def test_folder_that_nobody_named_gets_the_known_sets_name_and_splits(
    photos: Path, tmp_path: Path
) -> None:
    said = run([str(photos)], tmp_path / "out")
    assert said == [f"{photos} is the set toy by its pixels", "toy: 3 of 3 images recognised"]
    assert splits_of(tmp_path / "out") == {("toy", f"{name}.png"): "test" for name in NAMES}
    assert run([str(photos)], tmp_path / "out") == ["toy: 3 of 3 images recognised"]


@pytest.mark.usefixtures("toy_is_known")
def test_name_and_split_that_the_user_gave_win(photos: Path, tmp_path: Path) -> None:
    found = parse_sources([f"mine={photos}"], None, "train")
    tasks = select(load_recipe("paper"), ["jpeg"], {"qf": ["5"]})
    said: list[str] = []
    request = Request(found, tasks, load_recipe("paper"), tmp_path / "out", jobs=1)
    result = builder.run(request, said.append)
    assert said == ["mine is toy: 3 of 3 images recognised"] and result.sets == ("mine",)
    assert set(splits_of(tmp_path / "out").values()) == {"train"}
    run([f"mine={photos}"], tmp_path / "out")  # a split once given stays
    assert set(splits_of(tmp_path / "out").values()) == {"train"}


@pytest.mark.usefixtures("toy_is_known")
def test_set_given_by_name_is_compared_and_altered_images_keep_their_split(
    photos: Path, tmp_path: Path
) -> None:
    Pillow.open(photos / "coffee.png").resize((20, 20)).save(photos / "coffee.png")
    (photos / "chelsea.png").rename(photos / "cat.png")
    assert run([f"toy={photos}"], tmp_path / "out") == ["toy: 2 of 3; altered coffee.png"]
    assert set(splits_of(tmp_path / "out").values()) == {"test"}


@pytest.mark.usefixtures("toy_is_known")
def test_shared_images_of_two_sets_are_reported(photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Pillow.open(photos / "coffee.png").save(other / "x.bmp")
    said = run([f"toy={photos}", f"web={other}"], tmp_path / "out", limit=3)
    assert said[-1] == "toy (test) and web share images (1): toy/coffee.png is web/x.bmp"


@pytest.mark.usefixtures("toy_is_known")
def test_two_folders_of_one_known_set_do_not_clash(photos: Path, tmp_path: Path) -> None:
    for part in ("one", "two"):
        (tmp_path / part).mkdir()
        for name in NAMES[:2]:
            rgb = read(photos / f"{name}.png").rgb
            (tmp_path / part / f"{name}.png").write_bytes(imagecodecs.png_encode(rgb))
    run([str(tmp_path / "one"), str(tmp_path / "two")], tmp_path / "out")
    assert {name for name, _ in splits_of(tmp_path / "out")} == {"toy", "two"}
    assert set(splits_of(tmp_path / "out").values()) == {"test"}


def test_photos_of_other_sizes_are_not_decoded_to_be_recognised(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(collect, "read_all", fail)
    assert run([str(photos)], tmp_path / "out") == []


# -- the command ----------------------------------------------------------------------------------


def test_sets_lists_and_shows() -> None:
    listing = CliRunner().invoke(cli.main, ["sets"])
    assert "live1        29 images, known by pixels" in listing.output
    shown = CliRunner().invoke(cli.main, ["sets", "show", "live1"])
    assert "live.ece.utexas.edu" in shown.output and "womanhat" in shown.output


@pytest.mark.usefixtures("toy_is_known")
def test_sets_check_says_what_is_missing_by_its_exit_code(photos: Path) -> None:
    good = CliRunner().invoke(cli.main, ["sets", "check", str(photos), "--jobs", "1"])
    assert (good.exit_code, good.output) == (0, "photos is toy: 3 of 3 images recognised\n")
    (photos / "coffee.png").unlink()
    bad = CliRunner().invoke(cli.main, ["sets", "check", f"toy={photos}", "--jobs", "1"])
    assert (bad.exit_code, bad.output) == (1, "toy: 2 of 3; missing coffee\n")


def test_sets_check_of_a_folder_of_no_known_set_says_how_to_go_on(photos: Path) -> None:
    result = CliRunner().invoke(cli.main, ["sets", "check", str(photos)])
    assert result.exit_code == 1 and "is none of the sets known by their pixels" in result.output
