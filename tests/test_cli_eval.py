"""cirbench eval and restore, the command line: what they say of models and checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from cirbench import cli, cli_eval
from cirbench.evaluation import checkpoints
from cirbench.models import restorer

DOCS = Path(__file__).parent.parent / "docs" / "evaluate.md"


@pytest.mark.parametrize("command", ["eval", "restore"])
def test_help_and_docs_name_every_built_in_restorer(command: str) -> None:
    text = " ".join(CliRunner().invoke(cli.main, [command, "--help"]).output.split())
    for name in restorer._BUILT_IN:
        assert name in text.replace("moe_ diffir", "moe_diffir")
        assert f"- `{name}`" in DOCS.read_text(encoding="utf-8")


def test_eval_and_restore_say_the_same_of_the_options_they_share() -> None:
    shared = ("model", "checkpoint", "options")
    found = [
        [one.help for one in command.params if one.name in shared]
        for command in (cli_eval.evaluate, cli_eval.restore)
    ]
    assert found[0] == found[1] and len(found[0]) == len(shared)


def test_a_checkpoint_that_is_being_written_is_not_the_newest(tmp_path: Path) -> None:
    for name in ("step-0000007", "step-0000009.part"):
        folder = tmp_path / "a" / "prompt" / name
        folder.mkdir(parents=True)
        (folder / checkpoints.NOTE).write_text('model = "plain"\n')
    found = checkpoints.newest_checkpoint(tmp_path)
    assert found == checkpoints.Checkpoint("plain", tmp_path / "a" / "prompt" / "step-0000007")
