from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from cirbench import codecs, recipe
from cirbench.cli import main
from cirbench.errors import CirbenchError
from cirbench.recipe_file import line_numbers, parse


def keys(tasks) -> list[str]:
    return [task.key for task in tasks]


def test_the_paper_recipe_is_the_paper() -> None:
    paper = recipe.load("paper")
    seen = [task for task in paper.tasks if task.kind == "seen"]
    assert [task.task_id for task in seen] == list(range(len(seen)))
    assert " ".join(keys(seen)) == (
        "jpeg-qf5 jpeg-qf10 jpeg-qf15 webp-qf5 webp-qf10 webp-qf15 "
        "hevc-qp37 hevc-qp42 hevc-qp47 vvc-qp37 vvc-qp42 vvc-qp47 "
        "c_psnr-q1 c_psnr-q2 c_psnr-q3 c_ssim-q1 c_ssim-q2 c_ssim-q3 "
        "hific-low hific-med hific-high"
    )
    unseen = {kind: keys(t for t in paper.tasks if t.kind == kind) for kind in recipe.KINDS[1:3]}
    assert unseen["cross-degree"] == ["jpeg-qf25", "vvc-qp32", "vvc-qp52"]
    assert unseen["cross-type"] == ["avc-qp37", "avc-qp42", "avc-qp47"]
    assert all(task.settings["preset"] == "medium" for task in paper.tasks if task.codec == "vvc")


@pytest.mark.parametrize("name", recipe.names())
def test_every_shipped_recipe_loads_with_unique_tasks(name) -> None:
    loaded = recipe.load(name)
    assert loaded.name == name and len(set(keys(loaded.tasks))) == len(loaded.tasks)


def test_a_recipes_hash_ignores_comments_and_follows_the_tasks() -> None:
    text = 'name = "a"\nversion = 1\n[[task]]\ncodec = "jpeg"\nlevels = [5]\nkind = "seen"\n'
    same, other = text + "# a remark\n", text.replace("[5]", "[6]")
    assert parse(text).sha256 == parse(same).sha256 != parse(other).sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("levels", "level"), "unknown key 'level'"),
        (("[5]", "[5, 5]"), "repeats jpeg-qf5"),
        (("[5]", "[500]"), "no level 500"),
        (("jpeg", "jpg"), "did you mean jpeg"),
        (('"seen"', '"watched"'), "kind 'watched'"),
        (("version = 1", ""), "needs a version"),
        (("levels = [5]", "levels = 5"), "list of levels"),
        (('kind = "seen"', "settings = { chroma = '411' }"), "does not take chroma '411'"),
        (("[[task]]", "[[task"), "line 3"),
    ],
)
def test_a_bad_recipe_is_refused_with_its_file_name(tmp_path, change, message) -> None:
    text = 'name = "mine"\nversion = 1\n[[task]]\ncodec = "jpeg"\nlevels = [5]\nkind = "seen"\n'
    file = tmp_path / "mine.toml"
    file.write_text(text)
    assert recipe.load(str(file)).name == "mine"
    file.write_text(text.replace(*change))
    with pytest.raises(CirbenchError, match="mine.toml") as caught:
        recipe.load(str(file))
    assert message in str(caught.value)


BAD = """\
name = "mine"
version = 1
description = \'\'\'
[[task]]
levels = "this is text"
\'\'\'

[[task]]  # the first
codec = "jpeg"
levels = [5, 10]
kind = "seen"

[[ task ]]
codec = "hevc"
levels = [
  37,
  42,
]
kind = "cross-degree"
settings = { preset = "fast" }

[[task]]
levels = [30]
"kind" = "cross-type"
codec = "avc"
[task.settings]
encoder = "x264"
preset = "slow"

[[exception]]
sets = ["live1"]
codec = "jpeg"
levels = [5]
"""


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("version = 1", "version = true"), 2, "needs a version"),
        (("version = 1", "version = 1\nlevel = 3"), 3, "unknown key 'level'"),
        (("[5, 10]", "[5, 10, 5]"), 10, "repeats jpeg-qf5 of line 10"),
        (("[30]", "[30, 99]"), 23, "avc has no level 99"),
        (('"hevc"', '"hevx"'), 14, "did you mean hevc"),
        (("  42", "  52"), 15, "hevc has no level 52"),
        (("  37", "  37.5"), 15, "no level 37.5"),
        (('{ preset = "fast" }', '{ preset = "fast", aq = 1 }'), 20, "no setting 'aq'"),
        (('{ preset = "fast" }', "{ bit_depth = 8.0 }"), 20, "'bit_depth' must be text or"),
        (('{ preset = "fast" }', "{ chroma = '422' }"), 20, "does not take chroma"),
        (('{ preset = "fast" }', '"fast"'), 20, "settings must be a table"),
        (('settings = { preset = "fast" }', 'settings.preset = "f"'), 20, "not take preset"),
        (('"slow"', '"slowest"'), 28, "does not take preset"),
        (('"x264"', '"x265"'), 27, "avc has no encoder 'x265'"),
        (('"kind" = "cross-type"', '"kinds" = "seen"'), 24, "unknown key 'kinds'"),
        (('"cross-degree"', '"cross"'), 19, "kind 'cross' must be one of"),
        (('codec = "avc"\n', ""), 22, "needs a codec"),
        (("[30]", "[]"), 23, "must be a list of levels"),
        (('codec = "avc"', 'codec = "hevc"'), 27, "hevc has no encoder 'x264'"),
        (("[5]", "[500]"), 33, "jpeg has no level 500"),
        (("sets = ", "set = "), 31, "unknown key 'set'"),
        (('["live1"]', '"live1"'), 31, "sets must be a list"),
    ],
)
def test_errors_name_the_line(tmp_path, change, line, message) -> None:
    file = tmp_path / "mine.toml"
    assert parse(BAD).tasks
    assert BAD.count(change[0]) == 1
    file.write_text(BAD.replace(*change))
    with pytest.raises(CirbenchError) as caught:
        recipe.load(str(file))
    text = str(caught.value)
    assert text.startswith(f"{file}: line {line}: ") and message in text, text
    assert "\n" not in text


TWO = """\
name = "two"
version = 1
[[task]]
codec = "jpeg"
levels = [5, 10]
kind = "seen"
[[task]]
codec = "jpeg"
levels = [{level}]
kind = "{kind}"
settings = {settings}
"""


@pytest.mark.parametrize(
    ("level", "kind", "settings", "message"),
    [
        ('"qf10"', "seen", "{}", "line 9: repeats jpeg-qf10 of line 5"),
        (
            10,
            "cross-degree",
            "{}",
            "line 9: jpeg-qf10 contradicts line 5: kind seen there, cross-d",
        ),
        (10, "seen", '{ chroma = "444" }', "contradicts line 5: chroma 420 there, 444 here"),
        (
            20,
            "cross-type",
            "{}",
            "line 9: jpeg-qf20 is cross-type, an unseen codec, which contradic",
        ),
    ],
)
def test_tasks_that_contradict_each_other_are_refused(level, kind, settings, message) -> None:
    with pytest.raises(CirbenchError) as caught:
        parse(TWO.format(level=level, kind=kind, settings=settings))
    assert message in str(caught.value)
    assert len(parse(TWO.format(level=20, kind="cross-degree", settings="{}")).tasks) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task = [{ codec = 'jpeg', levels = [500] }]", "line 3: jpeg has no level 500"),
        ("[task]\ncodec = 'jpeg'\nlevels = [5]", r"line 3: write \[\[task\]\], with two brackets"),
        ("[[task]]\ncodec = 5\nlevels = [5]", "line 4: this table needs a codec"),
        ("", r"the recipe has no \[\[task\]\]"),
    ],
)
def test_other_ways_to_write_a_table(text, message) -> None:
    with pytest.raises(CirbenchError, match=message):
        parse(f"name = 'a'\nversion = 1\n{text}\n")


def test_line_numbers_of_headers_and_keys() -> None:
    found = line_numbers(BAD)
    assert [found["task", number, ""] for number in (1, 2, 3)] == [8, 13, 22]
    assert found["task", 3, "settings.preset"] == 28 and found["", 0, "version"] == 2
    assert ("task", 4, "") not in found


def test_release_is_the_released_data_with_its_exception() -> None:
    release = recipe.load("release")
    seen = [task for task in release.tasks if task.kind == "seen"]
    assert [task.task_id for task in seen] == list(range(21))
    assert keys(seen)[:6] == [
        "jpeg-qf10", "jpeg-qf15", "jpeg-qf20", "webp-qf1", "webp-qf5", "webp-qf10",
    ]  # fmt: skip
    assert keys(seen)[6:] == keys(recipe.load("paper").tasks)[6:21]
    (exception,) = release.exceptions
    assert (exception.codec, exception.levels) == ("jpeg", (5, 10, 15))
    assert exception.sets == ("live1", "div2k-test")


def test_reference_is_the_paper_with_the_reference_encoders() -> None:
    paper, reference = recipe.load("paper"), recipe.load("reference")
    encoders = {"vvc": "vtm", "hevc": "hm", "avc": "jm"}
    assert keys(reference.tasks) == keys(paper.tasks)
    for task, ours in zip(reference.tasks, paper.tasks, strict=True):
        wanted = ours.with_settings(encoder=encoders.get(task.codec))
        assert (task, task.settings) == (wanted, wanted.settings)


def run(*args: str) -> str:
    result = CliRunner().invoke(main, ["recipes", *args])
    assert result.exit_code == 0, result.output
    return result.output


def test_recipes_lists_and_shows(tmp_path) -> None:
    assert [line.split()[0] for line in run().splitlines()] == recipe.names()
    for name in recipe.names():
        loaded, text = recipe.load(name), run("show", name)
        assert text.startswith(f"{name} version {loaded.version}, ") and loaded.sha256 in text
        for task in loaded.tasks:
            (line,) = re.findall(rf"^\S+ +{task.key} .*$", text, re.MULTILINE)
            words = line.split()
            assert words[0] == ("-" if task.task_id is None else str(task.task_id))
            assert words[2] == task.kind
            assert all(str(value) in line for value in task.settings.values())
    assert "live1, div2k-test with jpeg-qf5, jpeg-qf10, jpeg-qf15" in run("show", "release")
    file = tmp_path / "mine.toml"
    file.write_text(BAD)
    assert "avc-qp30" in run("show", str(file))


def test_recipes_diff_tells_levels_kinds_ids_and_settings() -> None:
    text = run("diff", "paper", "release")
    only_paper, only_release, both = (part.splitlines() for part in text.split("\n\n")[1:4])
    assert only_paper == ["only in paper:", "  webp-qf15  seen  id 5"]
    assert [line.split()[0] for line in only_release[1:]] == ["jpeg-qf20", "webp-qf1"]
    assert re.search(r"jpeg-qf5 +id 0 -> none +kind seen -> cross-degree", text)
    assert [line.split()[0] for line in both[1:]] == [
        "jpeg-qf5", "jpeg-qf10", "jpeg-qf15", "webp-qf5", "webp-qf10",
    ]  # fmt: skip
    assert text.endswith("\n\nthe same in both: 21\n")
    text = run("diff", "paper", "reference")
    assert "only in" not in text and text.count("encoder vvenc -> vtm") == 5
    assert run("diff", "paper", "paper").endswith("\n\nthe same in both: 27\n")


def test_lists_speak_to_the_codecs_that_take_them() -> None:
    paper = recipe.load("paper")
    assert keys(recipe.select(paper, ["vvc"], {"qp": ["37", "40"]})) == ["vvc-qp37", "vvc-qp40"]
    kinds = [task.kind for task in recipe.select(paper, ["vvc"], {"qp": ["37", "40", "52"]})]
    assert kinds == ["seen", "other", "cross-degree"]
    mixed = recipe.select(paper, ["jpeg", "hevc"], {"qp": ["30"], "qf": ["80"]})
    assert keys(mixed) == ["jpeg-qf80", "hevc-qp30"]
    assert keys(recipe.select(paper, ["jpeg", "hevc"], {"qp": ["30"]})) == [
        "jpeg-qf5", "jpeg-qf10", "jpeg-qf15", "jpeg-qf25", "hevc-qp30",
    ]  # fmt: skip
    assert keys(recipe.select(paper, [], {"qf": ["50"]})) == ["jpeg-qf50", "webp-qf50"]
    assert keys(recipe.select(paper, ["jpeg", "avc"], {"": ["20"]})) == ["jpeg-qf20", "avc-qp20"]
    assert sorted(keys(recipe.select(paper))) == sorted(keys(paper.tasks))


@pytest.mark.parametrize(
    ("names", "levels", "settings", "message"),
    [
        (["jpeg"], {"qp": ["37"]}, {}, "--qp is a level none of jpeg takes"),
        (["vvc"], {"qp": ["99"]}, {}, "no level '99'"),
        (["vvc"], {}, {"chroma": "444"}, "does not take chroma '444'"),
        (["jpeg"], {}, {"preset": "fast"}, "no setting 'preset'"),
        (["jpeg"], {}, {"encoder": "vtm"}, "vtm"),
    ],
)
def test_what_no_codec_takes_is_an_error(names, levels, settings, message) -> None:
    with pytest.raises(CirbenchError, match=message):
        recipe.select(recipe.load("paper"), names, levels, **settings)


def test_settings_override_the_recipe_and_name_the_variant() -> None:
    paper = recipe.load("paper")
    (task,) = recipe.select(paper, ["vvc"], {"qp": ["37"]}, preset="fast")
    assert task.variant == "preset=fast" and task.kind == "seen"
    (task,) = recipe.select(paper, ["hevc"], {"qp": ["37"]}, encoder="hm", chroma="444")
    assert task.settings["encoder"] == "hm" and task.variant == "chroma=444,encoder=hm"
    (task,) = recipe.select(paper, ["hevc"], {"qp": ["37"]}, conversion="compressai-compat")
    assert (task.settings["chroma"], task.settings["bit_depth"]) == ("444", 8)
    default = recipe.select(paper, ["vvc"], {"qp": ["37"]})[0]
    assert default.variant == "" and default.settings == codecs.get("vvc").settings()


def test_another_encoder_keeps_what_a_recipe_asks_of_the_picture() -> None:
    (task,) = recipe.select(recipe.load("paper"), ["hevc"], {"qp": ["37"]})
    mine = task.with_settings(chroma="444", preset="fast")
    other = mine.with_settings(encoder="hm")
    assert other.variant == "chroma=444,encoder=hm"
    assert task.with_settings(encoder="hm").settings == codecs.get("hevc").settings(encoder="hm")
