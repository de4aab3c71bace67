"""The wheel carries its data, and the README shows commands that exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from cirbench.cli import main

ROOT = Path(__file__).parent.parent


def test_the_wheel_works_outside_the_checkout(photos, tmp_path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(site)
    data = {f"cirbench/_data/{path.relative_to(ROOT)}" for path in ROOT.glob("codecs/*.toml")}
    data |= {f"cirbench/_data/{p.relative_to(ROOT)}" for p in ROOT.glob("manifests/**/*.toml")}
    assert data and data <= names
    assert not [name for name in names if name.startswith(("tests/", "codecs/", "manifests/"))]
    command = [sys.executable, "-P", "-m", "cirbench", "build", str(photos), "--codec", "jpeg"]
    script = "import cirbench, sys; sys.stdout.write(cirbench.__file__)"
    env = os.environ | {"PYTHONPATH": str(site)}
    where = [sys.executable, "-P", "-c", script]
    found = subprocess.run(where, env=env, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(site)), "the checkout shadows the wheel"
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "12 rows made" in done.stdout


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
    for target in ("demo", "test", "lint", "bench", "simd", "clean", "help"):
        assert re.search(rf"^  make {target} +\w", done.stdout, re.MULTILINE), target
