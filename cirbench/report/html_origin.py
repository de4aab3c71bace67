"""Where everything is from: command, versions, recipes, encoders, weights, metrics."""

from __future__ import annotations

from typing import Any

from .. import codecs
from ..manifest import Manifest
from .html_data import Data
from .html_text import Html, join, table, tag

_ENCODER = (
    *("codec", "variant", "encoder", "encoder_version", "preset"),
    *("chroma", "bit_depth", "matrix", "range", "conversion", "device"),
)


def section(data: Data) -> Html:
    """All of it, as tables."""
    results = data.results
    manifest = results.manifest
    more = [pair for pair in _of_manifest(manifest) if pair[0] not in results.provenance]
    entries = [*results.provenance.items(), *more]
    listed = join(join((tag("dt", name), tag("dd", value))) for name, value in entries)
    versions = sorted(
        {
            (row["metric"], row["protocol"], row["protocol_version"])
            for row in results.scores.group_by(["metric", "protocol", "protocol_version"])
            .aggregate([])
            .to_pylist()
        }
    )
    metrics = (
        (
            results.metrics[name].title if name in results.metrics else name,
            f"{protocol} v{version}",
            results.metrics[name].better if name in results.metrics else "",
            results.metrics[name].doc if name in results.metrics else "",
        )
        for name, protocol, version in versions
    )
    return join(
        (
            tag("dl", listed, class_="origin"),
            table(
                ("metric", "protocol", "better", "source"),
                metrics,
                caption="Metrics",
                left=4,
                kind="texts",
            ),
            _encoders(manifest),
            _weights(manifest),
            _settings(manifest),
        )
    )


def _of_manifest(manifest: Manifest) -> list[tuple[str, str]]:
    found = [("data set", str(manifest.folder))]
    for recipe in manifest.metadata.get("recipes", []):
        sha = str(recipe.get("sha256", ""))
        name = f"{recipe.get('name', '')} {recipe.get('version', '')}".strip()
        found.append(("recipe hash", f"{name}: sha256 {sha}"))
    version = manifest.metadata.get("cirbench_version")
    if version:
        found.append(("data set made with", f"cirbench {version}"))
    return found


def _distinct(manifest: Manifest, names: tuple[str, ...]) -> list[dict[str, Any]]:
    found = manifest.table.group_by(list(names)).aggregate([]).to_pylist()
    return sorted(found, key=lambda row: [str(row[name]) for name in names])


def _encoders(manifest: Manifest) -> Html:
    rows = ([_shown(row[n]) for n in _ENCODER] for row in _distinct(manifest, _ENCODER))
    head = [name.replace("_", " ") for name in _ENCODER]
    return table(head, rows, caption="Encoders", left=len(head), kind="texts")


def _weights(manifest: Manifest) -> Html | None:
    names = ("codec", "weights", "weights_sha256")
    rows = [row for row in _distinct(manifest, names) if row["weights"]]
    if not rows:
        return None
    cells = ([_shown(row[name]) for name in names] for row in rows)
    return table(("codec", "weights", "sha256"), cells, caption="Codec weights", left=3)


def _settings(manifest: Manifest) -> Html:
    names = ("task", "variant", "settings")
    rows = []
    for row in _distinct(manifest, names):
        settings = codecs.read_settings(row["settings"])
        words = ", ".join(f"{key} {value}" for key, value in settings.items())
        rows.append([_shown(row["task"]), _shown(row["variant"]), words])
    content = table(names, rows, caption="Settings of every task", left=3, kind="texts")
    return tag("details", tag("summary", "Settings of every task"), content, class_="values")


def _shown(value: object) -> str:
    return "" if value is None else str(value)
