"""Where the numbers come from: data, recipes, encoders, models, protocols, versions."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from .. import __version__
from ..manifest import Manifest
from ..metrics import protocol as protocols
from .engine import Pair
from .methods import Method
from .request import Request

_PACKAGES = (
    *("numpy", "scipy", "scikit-image", "pyarrow", "imagecodecs", "imageio-ffmpeg", "av"),
    *("torch", "torchvision", "lpips", "torchmetrics", "pyiqa"),
)


def of(
    chosen: Request, manifest: Manifest, scored: Sequence[Method], wanted: Sequence[Pair]
) -> dict[str, str]:
    """Facts by name, in the order they are shown; no times, so that a rerun says the same."""
    table = manifest.table
    recipes = ", ".join(
        f"{one['name']} v{one['version']} ({one['sha256'][:12]})"
        for one in manifest.metadata.get("recipes", [])
    )
    images = table.group_by(["set", "hq_root", "hq_path"]).aggregate([])
    splits = sorted(table["split"].unique().to_pylist())
    facts = {
        "command": chosen.command,
        "data set": str(chosen.data),
        "recipes": recipes,
        "split": ", ".join(name or "none" for name in splits),
        "rows": f"{len(table)} of {len(images)} images",
    }
    for title, columns in (
        ("encoders", ["codec", "encoder_version"]),
        ("decoders", ["codec", "decoder_version"]),
        ("codec weights", ["codec", "weights", "weights_sha256"]),
    ):
        groups = table.group_by(columns).aggregate([]).to_pylist()
        lines = sorted(
            f"{group.pop('codec')}: {' '.join(str(value)[:80] for value in group.values())}"
            for group in groups
            if all(group.values())
        )
        if lines:
            facts[title] = "; ".join(lines)
    for method in scored:
        hashed = f", checkpoint sha256 {method.checkpoint}" if method.checkpoint else ""
        facts[f"model {method.label}"] = method.details + hashed
    for name in dict.fromkeys(name for _, name in wanted):
        one = protocols.get(name)
        facts[f"protocol {name}"] = f"version {one.version}: {one.doc}"
    facts["versions"] = ", ".join(
        [f"cirbench {__version__}", f"Python {platform.python_version()}", *_installed()]
    )
    return facts


def _installed() -> list[str]:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found
