"""The wheel and the sdist work outside the checkout; their version is the git tag's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOT_EXPORTED = shutil.ignore_patterns(
    *(".*", "__pycache__", "*.egg-info", "_version.py", "build", "data", "dist", "runs", "site"),
    *("checkpoints", "shared"),
)


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "GIT_", "SETUPTOOLS"))
    }
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=kept | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout's files without git, caches and whatever was built or downloaded."""
    pytest.importorskip("build")
    pytest.importorskip("hatch_vcs", reason="hatch-vcs builds the package: pip install '.[dev]'")
    return Path(
        shutil.copytree(ROOT, tmp_path_factory.mktemp("export") / "src", ignore=NOT_EXPORTED)
    )


@pytest.fixture(scope="module")
def dist(export: Path) -> Path:
    """An sdist and the wheel made from it, of a commit tagged v1.2.3."""
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    git = (
        "git",
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.org",
        "-c",
        "commit.gpgsign=false",
    )
    run("git", "init", "--quiet", cwd=export)
    run("git", "add", "CITATION.cff", cwd=export)
    run(*git, "commit", "--quiet", "--message", "all", cwd=export)
    run(*git, "tag", "--annotate", "v1.2.3", "--message", "v1.2.3", cwd=export)
    out = export.parent / "dist"
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, cwd=export)
    return out


@pytest.fixture(scope="module")
def commands(dist: Path) -> Path:
    """The bin folder of a new environment with the wheel; dependencies are borrowed from ours."""
    venv = dist.parent / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=dist)
    (site,) = venv.glob("lib/python*/site-packages")
    # A plain path: the .pth files over there, among them the editable cirbench's, do not count.
    ours = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (site / "borrowed.pth").write_text("".join(f"{path}\n" for path in ours))
    (wheel,) = dist.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", venv / "bin" / "python", "install", "--quiet"]
    run(*pip, "--no-deps", "--no-index", "--disable-pip-version-check", wheel, cwd=dist)
    return venv / "bin"


def test_sdist_and_wheel_are_called_after_the_tag(dist) -> None:
    names = {path.name for path in dist.iterdir()}
    assert names == {"cirbench-1.2.3.tar.gz", "cirbench-1.2.3-py3-none-any.whl"}


def test_the_wheel_carries_its_data_and_nothing_else(dist, export) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder in ("codecs", "manifests"):
        files = {path.relative_to(export).as_posix() for path in export.glob(f"{folder}/**/*.toml")}
        assert files and {f"cirbench/_data/{file}" for file in files} <= names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"cirbench", "cirbench-1.2.3.dist-info"}
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_sdist_has_what_the_tests_need(dist) -> None:
    with tarfile.open(dist / "cirbench-1.2.3.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"Makefile", "constraints.txt", "CITATION.cff", "tests/conftest.py", "docs/release.md"}
    assert wanted | {"PKG-INFO", "cirbench/_version.py", "benchmarks/common.py"} <= names


def test_the_installed_wheel_works_in_an_empty_folder(commands, photos, tmp_path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "1.2.3" in run(commands / "cirbench", "--version", cwd=empty)
    where = run(commands / "python", "-c", "import cirbench; print(cirbench.__file__)", cwd=empty)
    assert where.startswith(str(commands.parent)), "something shadows the wheel"
    printed = run(
        commands / "cirbench", "build", photos, "--codec", "jpeg,webp", "--qf", "5", cwd=empty
    )
    assert "6 rows made" in printed
    assert "0 problems" in run(commands / "cirbench", "verify", "data/cir", "--decode", cwd=empty)
    assert re.search(
        r"jpeg +qf5 +seen +3", run(commands / "cirbench", "table", "data/cir", cwd=empty)
    )
    for command in (["recipes", "show", "paper"], ["sets"], ["weights", "list"], ["metrics"]):
        assert run(commands / "cirbench", *command, cwd=empty)


def test_two_builds_of_one_installation_have_the_same_manifest(commands, photos, tmp_path) -> None:
    made = []
    for name in ("a", "b"):
        run(
            *(commands / "cirbench", "build", photos, "--codec", "jpeg", "--qf", "10"),
            *("--out", tmp_path / name, "--jobs", "1" if name == "a" else "3"),
            cwd=tmp_path,
        )
        made.append((tmp_path / name / "manifest.parquet").read_bytes())
    assert made[0] == made[1] and b'"cirbench_version": "1.2.3"' in made[0]


def test_without_git_the_version_is_the_fallback(export, tmp_path) -> None:
    folder = tmp_path / "src"
    shutil.copytree(export, folder, ignore=NOT_EXPORTED)
    build = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", tmp_path]
    run(*build, folder, cwd=tmp_path, GIT_CEILING_DIRECTORIES=str(tmp_path))
    assert [path.name for path in tmp_path.glob("*.tar.gz")] == ["cirbench-0.1.dev0.tar.gz"]


def test_the_citation_file_says_what_cff_1_2_0_requires() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    keys = dict(re.findall(r"^([a-z-]+): *(.*)$", text, re.MULTILINE))
    assert {"cff-version", "message", "title", "authors"} <= keys.keys()
    assert keys["cff-version"] == "1.2.0" and keys["license"] == "Apache-2.0"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", keys["date-released"])
    assert "version" not in keys, "the version is the tag's; a second copy would go stale"
