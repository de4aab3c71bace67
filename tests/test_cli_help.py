"""What the command line tells newcomers: stages in --help, suggestions, the shell's completion."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

import cirbench
from cirbench import codecs, metrics, recipe, suggest
from cirbench.cli import main
from cirbench.models import restorer


@pytest.fixture
def data(photos: Path, tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    cirbench.build(f"mine={photos}", codec="jpeg", qp=(), quality=[10, 30], out="data/cir")
    return tmp_path / "data/cir"


def offered(line: str) -> list[str]:
    """What the shell would offer at the end of ``line``."""
    *words, last = line.split(" ")
    complete = BashComplete(main, {}, "cirbench", "_CIRBENCH_COMPLETE")
    return [item.value for item in complete.get_completions(words, last)]


def test_every_command_is_in_one_stage_of_the_help() -> None:
    text = CliRunner().invoke(main, ["--help"]).output
    stages = text.split("--help")[1]
    for name in main.commands:
        assert len(re.findall(rf"^  {name}  ", stages, re.MULTILINE)) == 1, name
    titles = re.findall(r"^(\w.*):$", stages, re.MULTILINE)
    assert titles == list(main.stages) and "Data" in titles and "Evaluate" in titles


def test_help_says_whole_sentences() -> None:
    text = CliRunner().invoke(main, ["--help"], terminal_width=200).output
    assert "..." not in text.split("--help")[1]


@pytest.mark.parametrize(
    ("line", "suggestion"),
    [
        ("buidl", "build"),
        ("recipes shwo paper", "show"),
        ("build --codek jpeg", "--codec"),
        ("build --codec vcc", "vvc"),
        ("build --recipe papre", "paper"),
        ("build --encoder vtn", "vtm"),
        ("recipes show qiuck", "quick"),
        ("sets show liv1", "live1"),
        ("weights pull hific-lwo", "hific-low"),
        ("restore photos --model deblok", "deblock"),
        ("eval --model deblok", "deblock"),
        ("eval --metrics psrn", "psnr"),
        ("eval --metrics LPISP", "lpips"),
        ("eval --protocol native_y", "native-y"),
        ("eval --codec jpg", "jpeg"),
        ("eval --task jpeg-q10", "jpeg-qf10"),
        ("eval --set mien", "mine"),
    ],
)
def test_a_mistyped_name_suggests_the_right_one(line, suggestion, data) -> None:
    result = CliRunner().invoke(main, line.split())
    assert result.exit_code in (1, 2), result.output
    assert re.search(
        rf"[Dd]id you mean (one of: )?'?([^ ]*, )*'?{re.escape(suggestion)}\b", result.output
    ), result.output


def test_names_that_are_nothing_like_it_are_listed() -> None:
    assert suggest.hint("png", ["jpeg", "vvc"]) == "there are jpeg, vvc"
    assert suggest.hint("x", []) == "there are none"
    assert suggest.hint("VVC", ["vvc", "hevc"], most=1) == "did you mean vvc?"


def test_options_complete_what_there_is() -> None:
    assert offered("build --codec ") == codecs.names()
    assert offered("build --recipe ") == recipe.names() == offered("recipes show ")
    assert offered("restore x.png --model ") == restorer.names()
    assert offered("eval --metrics ps") == [n for n in metrics.names() if n.startswith("ps")]
    assert offered("build --encoder vt") == ["vtm"]
    assert offered("weights pull alex") == ["alexnet"]
    assert offered("eval --protocol paper") == ["paper-256"]
    assert offered("sets show live") == ["live1"]
    assert "verify" in offered("ver") and "--codec" in offered("build --co")


def test_a_list_completes_its_last_part_and_nothing_twice() -> None:
    assert offered("build --codec jpeg,w") == ["jpeg,webp"]
    assert "vvc,vvc" not in offered("build --codec vvc,v")


def test_values_of_a_data_set_complete_from_its_manifest(data) -> None:
    assert sorted(offered("eval --task ")) == ["jpeg-qf10", "jpeg-qf30"]
    assert offered("eval --codec ") == ["jpeg"]
    assert offered("table data/cir --set ") == ["mine"]
    assert offered("show --image co") == ["coffee.png"]
    assert "jpeg-qf5" in offered("eval --data nowhere --task ")  # the paper's


def test_own_recipes_complete_as_files() -> None:
    (item,) = BashComplete(main, {}, "cirbench", "_C").get_completions(["build", "--recipe"], "my")
    assert (item.type, item.value) == ("file", "my")


def test_the_documented_variable_makes_the_shell_complete(tmp_path) -> None:
    env = os.environ | {"_CIRBENCH_COMPLETE": "bash_source"}
    command = [sys.executable, "-m", "cirbench"]
    source = subprocess.run(
        command, env=env, capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    assert "_CIRBENCH_COMPLETE=bash_complete" in source
    subprocess.run(["bash", "-n"], input=source, text=True, check=True)
    env |= {
        "_CIRBENCH_COMPLETE": "bash_complete",
        "COMP_WORDS": "cirbench build --codec jpeg,w",
        "COMP_CWORD": "3",
    }
    found = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["plain,jpeg,webp"]
