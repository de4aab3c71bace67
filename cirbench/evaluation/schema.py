"""The columns of ``scores.parquet``. The only place where they are defined."""

from __future__ import annotations

from ..schema import arrow_schema, columns

_TEXT = """
row_id           str    The manifest's; for groups (FID): "group:set/task/variant/images-hash".
set              str    Name of the collection of HQ images.
split            str    "train", "test" or "".
kind             str    "seen", "cross-degree", "cross-type" or "other", with respect to the recipe.
task             str    codec-level, e.g. "jpeg-qf10".
codec            str    jpeg, webp, hevc, vvc, avc, c_psnr, c_ssim or hific.
level            str    The codec's operating point: "qf10", "qp37", "q2", "low".
level_value      int    The level's number; null for named levels.
variant          str    "" for the codec's default settings, else what differs: "preset=fast".
hq_path          str    HQ image, POSIX path relative to its root; "" for a group.
model            str    What made the image that was scored; "LQ" is the unrestored input.
checkpoint       str    SHA-256 of the model's checkpoint, or "".
metric           str    Name of the metric, e.g. "psnr".
protocol         str    Name of the protocol, e.g. "native-y".
protocol_version int    Version of the protocol.
value            float  The score in the metric's unit; the PSNR of equal images is inf; never NaN.
cirbench_version str    The cirbench that wrote this file.
"""

SCORES_SCHEMA = arrow_schema(columns(_TEXT))
"""One row per image, model, metric and protocol. Missing scores are absent and listed in the
file's metadata (key ``cirbench``, JSON: command, versions, recipes, problems, provenance)."""

FROM_MANIFEST = (
    "set",
    "split",
    "kind",
    "task",
    "codec",
    "level",
    "level_value",
    "variant",
    "hq_path",
)
"""Columns copied from the manifest's row."""
