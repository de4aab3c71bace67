"""MkDocs hooks: pages that live outside ``docs/``, links to them, and the API page."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import cirbench

ROOT = Path(__file__).parent.parent

# Where a file of the repository is on the site. One text, one place: nothing is copied by hand.
OUTSIDE = {
    "manifests/schema.md": "schema.md",
    "codecs/mini/README.md": "mini-training.md",
    "codecs/mini/LICENSE.md": "mini-licence.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}

# Names beside cirbench.__all__ that the guides use.
MORE = (
    "cirbench.builder.request.Request",
    "cirbench.builder.build.Result",
    "cirbench.models.restorer.Restorer",
    "cirbench.models.restorer.Info",
    "cirbench.models.tiling.tiled",
    "cirbench.check.check",
    "cirbench.verify.verify",
    "cirbench.materialize.materialize",
    "cirbench.export.write.export",
    "cirbench.export.import_.import_",
    "cirbench.metrics.get",
    "cirbench.metrics.protocol.get",
)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from elsewhere, and the API page."""
    for source, page in OUTSIDE.items():
        if (ROOT / source).is_file():
            files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    files.append(File.generated(config, "api.md", content=api()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links are written for readers of the repository: lead them to the page of the site."""
    home = posixpath.dirname(SOURCES.get(page.file.src_uri, f"docs/{page.file.src_uri}"))

    def moved(match: re.Match[str]) -> str:
        path, hash_, anchor = match[1].partition("#")
        source = posixpath.normpath(posixpath.join(home, path))
        return f"]({OUTSIDE.get(source, source.removeprefix('docs/'))}{hash_}{anchor})"

    return re.sub(r"\]\((?!\w+:|#)([^)\s]+)\)", moved, markdown)


SOURCES = {page: source for source, page in OUTSIDE.items()}


def api() -> str:
    """The API page: everything in ``cirbench.__all__``, then :data:`MORE`, from docstrings."""
    public = [".".join(filter(None, cirbench._EXPORTS[name])) for name in cirbench.__all__]
    lines = ["# API", "", "Everything that `import cirbench` offers:", ""]
    lines += [f"::: {name}\n" for name in public]
    lines += ["## From its modules", ""]
    full = "    options:\n      show_root_full_path: true\n"  # there are two called "get"
    return "\n".join([*lines, *(f"::: {name}\n{full}" for name in MORE)])
