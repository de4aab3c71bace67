from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cirbench import recipe
from cirbench.builder import plan
from cirbench.builder.plan import Found, assign_names

FILES = st.lists(
    st.sampled_from(["x", "X", "é", "e\u0301", "y.png", "deep/x", "x.jpg"]).flatmap(
        lambda stem: st.sampled_from([".png", ".jpg", ".PNG", ".tif"]).map(lambda end: stem + end)
    ),
    unique=True,
)


def found(path: str, name: str = "s") -> Found:
    return Found(name, path, Path("/nowhere"), "", 1, 1)


@given(FILES)
def test_no_two_images_of_a_set_share_a_name_on_any_file_system(paths) -> None:
    names = assign_names([found(path) for path in sorted(paths)], {})
    assert len({plan._folded(name) for name in names.values()}) == len(paths)


@given(FILES, FILES)
def test_names_once_given_never_change(first, second) -> None:
    before = assign_names([found(path) for path in sorted(first)], {})
    after = assign_names([found(path) for path in sorted({*first, *second})], before)
    assert before.items() <= after.items()
    assert len({plan._folded(name) for name in after.values()}) == len(after)


def test_names_are_the_usual_ones_when_nothing_collides() -> None:
    names = assign_names([found("a/x.png"), found("x.jpg"), found("y.png"), found("y.jpg")], {})
    assert list(names.values()) == ["a/x", "x", "y.png", "y.jpg"]


def test_row_ids_tell_sets_paths_tiles_pixels_tasks_and_settings_apart() -> None:
    paper = recipe.load("paper")
    task, other = paper.tasks[0], paper.tasks[1]
    (variant,) = recipe.select(paper, ["jpeg"], {"qf": ["5"]}, chroma="444")
    assert variant.key == task.key
    ids = {
        plan.row_id("s", "x.png", "", "hash", task),
        plan.row_id("t", "x.png", "", "hash", task),
        plan.row_id("s", "y.png", "", "hash", task),
        plan.row_id("s", "x.png", "0,0,8,8", "hash", task),
        plan.row_id("s", "x.png", "", "hash2", task),
        plan.row_id("s", "x.png", "", "hash", other),
        plan.row_id("s", "x.png", "", "hash", variant),
        plan.row_id("sx", ".png", "", "hash", task),
    }
    assert len(ids) == 8
    assert plan.content_id("hash", task) == plan.content_id("hash", task) not in ids
