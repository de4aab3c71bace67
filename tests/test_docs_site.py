"""The documentation's site builds without a warning and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cirbench

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material", reason="needs pip install 'cirbench[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [*command, "--site-dir", str(folder)],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_document_is_a_page_and_texts_are_not_copied(site: Path) -> None:
    for document in ROOT.glob("docs/*.md"):
        assert (site / f"{document.stem}.html").is_file(), document.name
    schema = (site / "schema.html").read_text(encoding="utf-8")
    assert all(f"<code>{name}</code>" in schema for name in ("row_id", "lq_sha256", "psnr_y"))
    assert not (ROOT / "docs" / "schema.md").exists()
    assert not list(site.rglob("*.py"))


def test_links_to_the_repository_lead_to_pages(site: Path) -> None:
    text = (site / "data.html").read_text(encoding="utf-8")
    assert 'href="schema.html"' in text and "../manifests" not in text


def test_the_api_page_has_every_public_name(site: Path) -> None:
    text = (site / "api.html").read_text(encoding="utf-8")
    for name in cirbench.__all__:
        assert re.search(rf'<h3 id="cirbench\.[\w.]*{name}"', text), name
    assert '<span class="gp">&gt;&gt;&gt; </span>' in text  # a doctest is a code block
    assert ":class:" not in text


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assets = re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="([^"]+)"', text)
        assert assets and not [one for one in assets if re.match(r"(https?:)?//", one)], page.name
