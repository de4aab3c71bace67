"""Python and the installed packages against what cirbench's own metadata asks for."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from .. import info
from .finding import NOTE, OK, PROBLEM, Finding

_NOT_FOR_USERS = {"dev", "docs"}


def check() -> Iterator[Finding]:
    """Python, what the core needs, the extras, Pillow or Pillow-SIMD."""
    try:
        own = distribution("cirbench")
    except PackageNotFoundError:
        yield Finding(
            NOTE,
            "packages",
            "cirbench runs from a folder that pip does not know: versions cannot be compared",
            "pip install cirbench (or pip install --editable . in a checkout)",
        )
        return
    yield _python(own.metadata["Requires-Python"] or "")
    wanted = [Requirement(text) for text in own.requires or ()]
    core = [one for one in wanted if _applies(one, "")]
    wrong = list(_wrong(core))
    yield from wrong
    if not wrong:
        yield Finding(OK, "packages", f"all {len(core)} that the core needs fit")
    extras = sorted(set(own.metadata.get_all("Provides-Extra") or ()) - _NOT_FOR_USERS)
    for extra in extras:
        yield _extra(extra, [one for one in wanted if one not in core and _applies(one, extra)])
    yield from _conflicts({one.name for one in wanted})
    yield _pillow()


def _python(supported: str) -> Finding:
    here = platform.python_version()
    if not SpecifierSet(supported).contains(here, prereleases=True):
        todo = f"make an environment with Python {supported}"
        return Finding(PROBLEM, "Python", f"{here} is not supported", todo)
    return Finding(OK, "Python", f"{here} (supported: {supported})")


def _applies(one: Requirement, extra: str) -> bool:
    return one.marker is None or one.marker.evaluate({"extra": extra})


def _fits(one: Requirement) -> bool | None:
    """Whether an installed version fits; None when the package is not installed."""
    try:
        return one.specifier.contains(version(one.name), prereleases=True)
    except PackageNotFoundError:
        return None


def _plain(one: Requirement) -> str:
    return f"{one.name}{one.specifier}"


def _wrong(wanted: Iterable[Requirement]) -> Iterator[Finding]:
    for one in wanted:
        fits = _fits(one)
        if not fits:
            text = (
                "is not installed" if fits is None else f"{version(one.name)} is not {_plain(one)}"
            )
            yield Finding(PROBLEM, one.name, text, f"pip install '{_plain(one)}'")


def _extra(name: str, wanted: list[Requirement]) -> Finding:
    missing = [one.name for one in wanted if _fits(one) is None]
    wrong = [_plain(one) for one in wanted if _fits(one) is False]
    install = f"pip install 'cirbench[{name}]'"
    if not wanted:
        return Finding(NOTE, f"[{name}]", f"not for Python {platform.python_version()}")
    if wrong:
        return Finding(NOTE, f"[{name}]", f"is to have {', '.join(wrong)}", install)
    if missing:
        return Finding(NOTE, f"[{name}]", f"not installed: {', '.join(missing)}", install)
    return Finding(OK, f"[{name}]", "installed")


def _conflicts(names: Iterable[str]) -> Iterator[Finding]:
    """Packages of ours whose own requirements do not fit what is installed (numpy 2, mostly)."""
    for name in sorted(names):
        try:
            needs = [Requirement(text) for text in distribution(name).requires or ()]
        except PackageNotFoundError:
            continue
        for one in needs:
            if _applies(one, "") and _fits(one) is False:
                text = (
                    f"{version(name)} needs {_plain(one)}, here is {one.name} {version(one.name)}"
                )
                yield Finding(PROBLEM, name, text, f"pip install '{_plain(one)}'")


def _pillow() -> Finding:
    """Pillow and Pillow-SIMD share one folder: with both installed, neither is whole."""
    there = []
    for package in ("pillow", "pillow-simd"):
        try:
            there.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    if len(there) > 1:
        todo = "pip uninstall pillow pillow-simd; pip install pillow (in a checkout: make no-simd)"
        return Finding(PROBLEM, "Pillow", f"{' and '.join(there)} share one folder", todo)
    return Finding(OK, "Pillow", info.pillow())
