from __future__ import annotations

import pytest

from cirbench import codecs, recipe
from cirbench.errors import CirbenchError


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
    assert recipe.parse(text).sha256 == recipe.parse(same).sha256 != recipe.parse(other).sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("levels", "level"), "unknown key 'level'"),
        (("[5]", "[5, 5]"), "repeats jpeg-qf5"),
        (("[5]", "[500]"), "no level 500"),
        (("jpeg", "jpg"), "did you mean 'jpeg'"),
        (('"seen"', '"watched"'), "kind 'watched'"),
        (("version = 1", ""), "needs a name"),
        (("levels = [5]", "levels = 5"), "list of levels"),
        (('kind = "seen"', "settings = { chroma = '411' }"), "does not take chroma 411"),
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
        (["vvc"], {}, {"chroma": "444"}, "does not take chroma 444"),
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
