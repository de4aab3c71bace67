"""Builds into a data set that is there: what is refused, what is kept, what is forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import cirbench
from cirbench import Manifest, cli, estimate, recipe
from cirbench.builder import settled
from cirbench.builder.request import Request, parse_sources
from cirbench.errors import CirbenchError

JPEG = {"codec": "jpeg", "quality": 10}


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("again", [False, True])
def test_a_data_set_is_no_folder_of_photos(again, photos, tmp_path) -> None:
    data = tmp_path / "data"
    cirbench.build(photos, out=data, **JPEG)
    before = (data / "manifest.parquet").read_bytes()
    out = data if again else tmp_path / "other"
    with pytest.raises(CirbenchError, match="is a data set made by cirbench"):
        cirbench.build(data, out=out, **JPEG)
    assert (data / "manifest.parquet").read_bytes() == before
    assert again or not out.exists()
    done = CliRunner().invoke(cli.main, ["build", str(data), "--out", str(out), "--dry-run"])
    assert done.exit_code == 1 and "is a data set made by cirbench" in done.output


def test_photos_and_data_set_never_share_a_folder(photos) -> None:
    before = files_of(photos)
    with pytest.raises(CirbenchError, match="is the folder of the photos"):
        cirbench.build(photos, out=photos, **JPEG)
    assert files_of(photos) == before


def test_a_photo_that_can_be_read_again_has_no_error_row(photos, tmp_path) -> None:
    out, photo = tmp_path / "out", photos / "chelsea.png"
    cirbench.build(photos, out=out, **JPEG)
    whole, manifest = photo.read_bytes(), (out / "manifest.parquet").read_bytes()
    photo.write_bytes(whole[:100])
    assert cirbench.build(photos, out=out, **JPEG).failed == 1
    photo.write_bytes(whole)
    assert cirbench.build(photos, out=out, **JPEG).failed == 0
    assert (out / "manifest.parquet").read_bytes() == manifest


@pytest.mark.parametrize("mode", ["copy", "link"])
def test_a_lost_journal_is_made_again_with_how_hq_images_are_kept(mode, photos, tmp_path) -> None:
    out, more = tmp_path / "out", photos / "new.png"
    cirbench.build(photos, out=out, hq=mode, **JPEG)
    (out / "journal.sqlite").unlink()
    more.write_bytes((photos / "chelsea.png").read_bytes())
    cirbench.build(photos, out=out, **JPEG)
    kept = out / "hq" / "photos" / "new.png"
    assert kept.is_file() and kept.is_symlink() == (mode == "link")


@pytest.mark.parametrize("mode", ["png", "bitstream", "bitstream-only"])
def test_a_lost_journal_does_not_refuse_the_data_sets_own_command(mode, photos, tmp_path) -> None:
    for _ in range(2):
        cirbench.build(photos, out=tmp_path / "out", store_mode=mode, **JPEG)
        (tmp_path / "out" / "journal.sqlite").unlink()


def test_a_build_that_made_nothing_settles_nothing(photos, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CirbenchError, match="holds no images"):
        cirbench.build(tmp_path / "empty", out=tmp_path / "out", **JPEG)
    assert cirbench.build(photos, out=tmp_path / "out", store_mode="bitstream", **JPEG).made == 3
    other = tmp_path / "more" / "photos"
    other.mkdir(parents=True)
    (other / "x.png").write_bytes((photos / "chelsea.png").read_bytes())
    with pytest.raises(CirbenchError, match="name the other folder"):
        cirbench.build(f"photos={other}", recipe_name="release", out=tmp_path / "out", **JPEG)
    cirbench.build(photos, out=tmp_path / "out", **JPEG)
    recipes = Manifest.open(tmp_path / "out").metadata["recipes"]
    assert [one["name"] for one in recipes] == ["paper"]


def test_splits_given_for_the_sample_photos_stay(tmp_path) -> None:
    for quality, given in ((10, {"splits": "1.0"}), (15, {})):
        cirbench.build(codec="jpeg", quality=quality, out=tmp_path / "out", limit=3, **given)
    splits = Manifest.open(tmp_path / "out").table["split"].to_pylist()
    assert splits == ["train"] * 6


def test_a_folder_keeps_the_name_it_was_given(photos, tmp_path) -> None:
    cirbench.build(f"mine={photos}", out=tmp_path / "out", **JPEG)
    again = cirbench.build(photos, out=tmp_path / "out", **JPEG)
    assert (again.made, again.skipped, again.sets) == (0, 3, ("mine",))


def test_a_dry_run_goes_by_how_the_data_set_is_stored(photos, tmp_path) -> None:
    out = tmp_path / "out"
    cirbench.build(photos, out=out, store_mode="bitstream-only", **JPEG)
    assert settled.recorded_modes(out) == ("bitstream-only", "ref")
    paper = recipe.load("paper")
    tasks = recipe.select(paper, ["jpeg"], {"qf": ["10"]})
    request = Request(parse_sources([str(photos)], None, None), tasks, paper, out=out)
    elsewhere = Request(request.sources, tasks, paper, out=tmp_path / "elsewhere")
    assert 3 * estimate.of(request).bytes < estimate.of(elsewhere).bytes


def test_an_out_that_is_no_text_is_refused_at_once(photos, tmp_path) -> None:
    out = tmp_path / "a\udcffb"
    with pytest.raises(CirbenchError, match=r"a\\xffb is no UTF-8 name"):
        cirbench.build(photos, out=out, **JPEG)
    assert not out.exists()


def test_control_characters_of_names_never_reach_the_terminal(photos, tmp_path) -> None:
    bad = "a\x1b]0;owned\x07.png"
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / bad).write_bytes((photos / "chelsea.png").read_bytes())
    run = CliRunner().invoke
    folders = [str(tmp_path / folder) for folder in ("one", "two")]
    for name in ("one", "two"):
        cirbench.build(tmp_path / name, out=tmp_path / f"data-{name}", **JPEG)
    data = [str(tmp_path / f"data-{name}") for name in ("one", "two")]
    both = ["build", *folders, "--codec", "jpeg", "--qf", "10", "--out", str(tmp_path / "both")]
    for line in (["duplicates", *folders], ["check", *data], both):
        done = run(cli.main, line)
        assert "\\x1b" in done.output and "\x1b" not in done.output, line
