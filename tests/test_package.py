"""README and docs show commands that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from cirbench.cli import main

ROOT = Path(__file__).parent.parent


def commands() -> list[str]:
    documents = [ROOT / "README.md", *ROOT.glob("docs/*.md")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in documents)
    blocks = re.findall(r"^```(?:\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.split("#")[0] for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`(cirbench [a-z][^`]*)`", text)
    parts = [part.strip() for line in lines for part in line.split(";")]
    return sorted({part for part in parts if part.startswith("cirbench ")})


@pytest.mark.parametrize("line", commands())
def test_documented_commands_name_real_options(line) -> None:
    """Parsed by click itself, with --help behind, so that nothing runs."""
    words = shlex.split(line)[1:]
    result = CliRunner().invoke(main, [*words, "--help"])
    assert result.exit_code == 0, result.output
    known = set(re.findall(r"--?[a-z][a-z-]*", result.output))
    options = {word for word in words if re.match(r"--?[a-z]", word)}
    assert options <= known


def test_make_help_lists_every_target() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("demo", "test", "lint", "docs", "bench", "simd", "clean", "help"):
        assert re.search(rf"^  make {target} +\w", done.stdout, re.MULTILINE), target
