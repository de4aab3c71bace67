"""Restorers, tiling, and cirbench restore."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

from cirbench import cli, codecs, recipe
from cirbench.errors import CirbenchError, InputError
from cirbench.evaluation import checkpoints
from cirbench.metrics.distortion import psnr_pair
from cirbench.models import files, restorer
from cirbench.models.restorer import Info
from cirbench.models.tiling import starts, tiled, weights
from cirbench.sources import read


def restore(*args: object):
    return CliRunner().invoke(cli.main, ["restore", *map(str, args)])


def jpeg(photo: np.ndarray, quality: int) -> np.ndarray:
    codec = codecs.get("jpeg")
    task = recipe.select(recipe.load("paper"), ["jpeg"], {"": [str(quality)]})[0]
    coded = codec.encode(photo, codec.level(str(quality)), dict(task.settings))
    return codec.decode(coded.bitstream, photo.shape[:2], dict(task.settings))


@pytest.mark.parametrize("quality", [5, 10, 15, 25])
def test_deblock_improves_jpeg(photo, quality):
    lq = jpeg(photo, quality)
    better = restorer.restore_rgb(restorer.get("deblock"), lq, 0)
    assert psnr_pair(photo, better)[1] > psnr_pair(photo, lq)[1] + 0.2


def test_deblock_keeps_flat_images_and_takes_any_size():
    deblock = restorer.get("deblock")
    for size in ((1, 1), (5, 33), (70, 3)):
        flat = np.full((*size, 3), (9, 200, 77), np.uint8)
        assert np.array_equal(restorer.restore_rgb(deblock, flat, 0), flat)
    assert deblock.info().parameters == 0 and "spp" in deblock.info().version


def test_deblock_does_not_depend_on_batching(photo):
    batch = np.stack([photo, photo[::-1]]).transpose(0, 3, 1, 2).astype(np.float32) / 255
    deblock = restorer.get("deblock")
    both = deblock.restore(batch, seeds=[1, 2])
    alone = [deblock.restore(one[None], seeds=[3])[0] for one in batch]
    assert both.dtype == np.float32 and np.array_equal(both, np.stack(alone))


def test_identity_changes_nothing(photo):
    assert np.array_equal(restorer.restore_rgb(restorer.get("identity"), photo, 0), photo)
    with pytest.raises(CirbenchError, match="takes no checkpoint"):
        restorer.get("identity", Path(__file__))


def test_outputs_of_another_size_or_with_nan_are_refused(photo):
    class Broken:
        def __init__(self, change):
            self.change = change

        def restore(self, lq, *, seeds, prompt=None):
            return self.change(lq)

        def info(self):
            return Info("broken")

    for change, says in ((lambda lq: lq[..., 1:], "shape"), (lambda lq: lq * np.nan, "NaN")):
        with pytest.raises(InputError, match=says):
            restorer.restore_rgb(Broken(change), photo, 0)
    clipped = restorer.restore_rgb(Broken(lambda lq: lq + 2), photo, 0)
    assert (clipped == 255).all()


def test_seeds_are_63_bits_of_the_name():
    seeds = {restorer.seed_of(f"{index}") for index in range(1000)}
    assert len(seeds) == 1000 and min(seeds) >= 0 and max(seeds) < 2**63
    assert restorer.seed_of("a") == restorer.seed_of("a") == 7299139317422481125


@given(st.integers(1, 300), st.integers(2, 9), st.integers(0, 7), st.integers(0, 3))
def test_tiles_cover_everything_and_their_weights_add_up_to_one(side, tile, overlap, margin):
    tile *= 8
    margin = min(margin, overlap // 2)
    begins = starts(side, tile, overlap)
    total, covered = np.zeros(side), np.zeros(side, int)
    for begin, window in zip(
        begins, weights(side, begins, min(side, tile), overlap, margin), strict=True
    ):
        assert (window >= 0).all() and len(window) == min(side, tile)
        total[begin : begin + len(window)] += window
        covered[begin : begin + len(window)] += 1
    assert np.allclose(total, 1, atol=1e-6) and covered.min() >= 1
    assert all(b - a <= tile - overlap for a, b in pairwise(begins))


@settings(max_examples=25)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([1, 8, 16]))
def test_tiled_is_the_function_of_the_whole_image(height, width, multiple):
    image = np.random.default_rng(0).random((1, 3, height, width), dtype=np.float32)
    sizes = []

    def run(batch):
        sizes.append(batch.shape[2:])
        return batch

    made = tiled(run, image, tile=32, overlap=8, multiple=multiple)
    assert np.allclose(made, image, atol=1e-6)
    assert all(side % multiple == 0 and side <= 32 for size in sizes for side in size)


def test_tiles_leave_no_seams_when_the_margin_covers_the_filters_reach():
    image = np.random.default_rng(0).random((2, 3, 131, 97), dtype=np.float32)

    def blur(batch):
        return uniform_filter(batch, (0, 0, 5, 5), mode="nearest")

    made = tiled(blur, image, tile=48, overlap=12, margin=2)
    assert np.abs(made - blur(image)).max() < 1e-6
    with pytest.raises(ValueError, match="overlap 12"):
        tiled(blur, image, tile=48, overlap=12, margin=7)


def test_restore_keeps_names_and_sizes_and_never_overwrites(photos, tmp_path):
    (photos / "sub").mkdir()
    (photos / "coffee.png").rename(photos / "sub" / "coffee.png")
    out = tmp_path / "out"
    done = restore(photos, "--model", "deblock", "--out", out)
    assert done.exit_code == 0, done.output
    assert "3 images restored" in done.output
    assert re.search(r"MP in .* s per megapixel; peak memory \d+\.\d GB", done.output)
    for file in ("astronaut.png", "chelsea.png", "sub/coffee.png"):
        made = read(out / file).rgb
        assert made.shape == read(photos / file).rgb.shape
        lq = read(photos / file).rgb
        assert np.array_equal(made, restorer.restore_rgb(restorer.get("deblock"), lq, 0))
    (out / "chelsea.png").write_bytes(b"mine")
    again = restore(photos, "--model", "deblock", "--out", out)
    assert again.exit_code == 1 and "(and 2 more) exists and is not overwritten" in again.output
    (out / "astronaut.png").unlink()
    more = restore(photos, "--model", "deblock", "--out", out, "--skip-existing")
    assert "1 images restored" in more.output and "2 already there" in more.output
    assert (out / "chelsea.png").read_bytes() == b"mine"
    assert not [file for file in os.listdir(out) if file.startswith(".")]


def test_restore_takes_one_image_and_a_png_to_write(photos, tmp_path):
    target = tmp_path / "new" / "x.png"
    assert restore(photos / "coffee.png", "--model", "identity", "--out", target).exit_code == 0
    assert np.array_equal(read(target).rgb, read(photos / "coffee.png").rgb)
    assert restore(photos, "--model", "identity", "--out", tmp_path / "y.png").exit_code == 1
    folder = tmp_path / "folder"
    restore(photos / "coffee.png", "--model", "identity", "--out", folder)
    assert (folder / "coffee.png").is_file()


def test_restore_reports_what_cannot_be_read_and_does_the_rest(photos, tmp_path):
    (photos / "bad.png").write_bytes(b"no image")
    done = restore(photos, "--model", "identity", "--out", tmp_path / "out")
    assert done.exit_code == 3 and "not restored: bad.png" in done.output
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_images_with_one_stem_keep_their_endings(photos, tmp_path):
    (photos / "coffee.jpg").write_bytes((photos / "coffee.png").read_bytes())
    names = {job.target.name for job in files.plan(photos, tmp_path)}
    assert names == {"astronaut.png", "chelsea.png", "coffee.png.png", "coffee.jpg.png"}


def test_what_an_earlier_run_wrote_inside_the_source_is_not_restored_again(photos):
    assert restore(photos, "--model", "identity", "--out", photos / "out").exit_code == 0
    again = restore(photos, "--model", "identity", "--out", photos / "out", "--skip-existing")
    assert "0 images restored" in again.output and "3 already there" in again.output


def test_restore_says_what_to_name_when_there_is_no_checkpoint(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoints, "shipped", lambda: None)
    done = restore(photos)
    assert done.exit_code == 1 and "no checkpoint under runs" in done.output
    assert "deblock" in done.output


def test_the_newest_checkpoint_is_found_with_its_model(tmp_path):
    runs = tmp_path / "runs"
    assert checkpoints.newest_checkpoint(runs) is None
    for age, name in enumerate(("new", "old")):
        note = runs / name / "step" / checkpoints.NOTE
        note.parent.mkdir(parents=True)
        note.write_text(f'model = "{name}net"\n')
        os.utime(note, (1e9 - age, 1e9 - age))
    found = checkpoints.newest_checkpoint(runs)
    assert found == checkpoints.Checkpoint("newnet", runs / "new" / "step")
    with pytest.raises(CirbenchError, match="add --model NAME"):
        checkpoints.model_of(tmp_path / "x.pt")


def test_uint8_images_survive_the_way_through_float():
    ramp = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    coded = imagecodecs.png_decode(imagecodecs.png_encode(ramp))
    assert np.array_equal(restorer.restore_rgb(restorer.get("identity"), coded, 0), ramp)
