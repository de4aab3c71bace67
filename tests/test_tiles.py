"""Where tiles lie in a photo, what their files are called, and how they are planned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cirbench.builder import plan
from cirbench.builder.journal import ImageRecord
from cirbench.builder.plan import Work, assign_names
from cirbench.errors import CirbenchError, InputError
from cirbench.recipe import load
from cirbench.sources import Found
from cirbench.tiles import Box, Tiling, cut

EDGE = st.integers(1, 200)


@given(EDGE, EDGE, st.integers(1, 80).flatmap(lambda s: st.tuples(st.just(s), st.integers(1, s))))
@settings(deadline=None)
def test_tiles_cover_the_photo_with_equal_sizes(width, height, sides) -> None:
    cutting = Tiling(*sides)
    boxes = list(cutting.boxes(width, height))
    covered = np.zeros((height, width), bool)
    for box in boxes:
        covered[box.y : box.y + box.height, box.x : box.x + box.width] = True
        assert (box.width, box.height) == (min(sides[0], width), min(sides[0], height))
        assert box.x + box.width <= width and box.y + box.height <= height
        assert Box.parse(str(box)) == box
    assert covered.all() and len(set(boxes)) == len(boxes)
    assert boxes == sorted(boxes, key=lambda box: (box.y, box.x))  # row-major
    assert cutting.size(width, height) == (len(boxes), sum(b.width * b.height for b in boxes))


def test_tiles_lie_where_the_fields_scripts_put_them() -> None:
    """A DIV2K photo with the usual 480/240: every 240 pixels, the last one flush with the edge."""
    boxes = list(Tiling(480, 240).boxes(2040, 1356))
    assert sorted({box.x for box in boxes}) == [0, 240, 480, 720, 960, 1200, 1440, 1560]
    assert sorted({box.y for box in boxes}) == [0, 240, 480, 720, 876]
    assert len(boxes) == 40


@pytest.mark.parametrize("text", ["", "1,2,3", "0,0,8,x", "0,0,8,0", "-1,0,8,8", "0,0,8,8,8"])
def test_what_is_no_tile_is_refused(text) -> None:
    with pytest.raises(CirbenchError, match="no tile"):
        Box.parse(text)


def test_a_tile_outside_its_photo_is_refused() -> None:
    with pytest.raises(InputError, match=r"a\.png is 8x6: the tile 0,0,8,8 is not inside"):
        cut(np.zeros((6, 8, 3), np.uint8), Box(0, 0, 8, 8), "a.png")


NAMES = st.lists(
    st.tuples(
        st.sampled_from(["", "a/", "a_0_0.png/", "A_0_8.jpg/", "a.png_0_0.png/"]),
        st.sampled_from(["a", "A", "a_0", "a_0_0", "a_0_0_8", "a.png", "a_8_0_0"]),
        st.sampled_from([".png", ".jpg", ".PNG"]),
    ).map("".join),
    unique=True,
)


@given(NAMES, st.integers(9, 30))
@settings(deadline=None)
def test_no_two_images_or_tiles_share_a_file(paths, width) -> None:
    """Nor is a file called like a folder, also where case does not count."""
    found = [Found("s", path, Path("/nowhere"), "", 1, 1) for path in sorted(paths)]
    names = assign_names(found, {})
    task = load("paper").tasks[0]
    files: list[str] = []
    for image in found:
        works = [Work(image, names[image.path], task)]
        boxes = {side: Tiling(side, side).boxes(width, 9) for side in (8, 9)}
        works += [Work(image, works[0].name, task, b, side) for side in boxes for b in boxes[side]]
        files += ["/".join(work.place) + ".png" for work in works]
    folded = {plan._folded(file) for file in files}
    assert len(folded) == len(files)
    assert all(parent not in folded for f in files for parent in map(plan._folded, parents(f)))


def parents(file: str) -> list[str]:
    parts = file.split("/")[:-1]
    return ["/".join(parts[: end + 1]) for end in range(len(parts))]


def test_a_plan_of_many_tiles_is_small() -> None:
    """20 tiles each of 400 known photos times 21 tasks: tasks are kept once, not 168,000 times."""
    tasks = load("paper").tasks[:21]

    class Journal:
        def names(self, name: str) -> dict[str, str]:
            return {path: path[:-4] for path in paths}

        def image(self, name: str, path: str) -> ImageRecord:
            return ImageRecord(name, path, path[:-4], 1, 1, "hash", 2040, 1356)

        def tiles(self, name: str) -> dict[tuple[str, str], str]:
            boxes = [str(box) for box in Tiling(512, 384).boxes(2040, 1356)]
            return {(path, box): "tile" for path in paths for box in boxes}

    paths = [f"{number:04}.png" for number in range(400)]
    found = [Found("s", path, Path("/nowhere"), "", 1, 1) for path in paths]
    made = plan.make(found, tasks, Journal(), set(), Tiling(512, 384))  # type: ignore[arg-type]
    assert len(made.images) == 400 * 20 and len(made) == 400 * 20 * 21
    assert len({id(tasks) for tasks in made.pending.values()}) == 1
