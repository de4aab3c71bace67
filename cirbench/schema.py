"""The manifest's columns: one row per LQ image. The only place where they are defined.

``python -m cirbench.schema`` prints ``manifests/schema.md``; a test compares the two, and the same
texts are the parquet file's field metadata.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

SCHEMA_VERSION = 2
"""Raised with every column that is added; cirbench.migrate fills in what older ones lack."""


@dataclass(frozen=True)
class Column:
    """One column: its name, its type (``str``, ``int`` or ``float``) and what it means."""

    name: str
    type: str
    doc: str


_TEXT = """
row_id          str    Unique id: SHA-256 (first 32 hex digits) of set, hq_path, tile, hq_sha256, task and settings.
content_id      str    Same work across sets: SHA-256 (first 32 hex digits) of hq_sha256, task and settings.
set             str    Name of the collection of HQ images.
split           str    "train", "test" or "": by image, never by row.
recipe          str    Recipe that kind and task_id refer to, e.g. "paper": the one the row was first built with.
kind            str    "seen", "cross-degree", "cross-type" or "other", with respect to the recipe.
task            str    codec-level, e.g. "jpeg-qf10"; null when the HQ image itself could not be used.
task_id         int    Number of the task among the recipe's seen tasks; null for all others.
codec           str    jpeg, webp, hevc, vvc, avc, c_psnr, c_ssim or hific.
level           str    The codec's operating point as in the task: "qf10", "qp37", "q2", "low".
level_value     int    The level's number (10, 37, 2); null for named levels.
variant         str    "" for the codec's default settings, else what differs: "preset=fast".
settings        str    All settings that decide the bitstream, as canonical JSON.
hq_root         str    Name of the folder hq_path is relative to; roots.toml or --hq-root resolves it.
hq_path         str    HQ image, POSIX path relative to its root.
hq_sha256       str    SHA-256 of the HQ pixels (uint8 RGB, row by row) as the codec got them.
source_mode     str    What the file held before conversion to 8-bit RGB: "RGB", "L", "RGB;16", ...
tile            str    "x,y,width,height" when the row is a tile of the photo, else null.
photo_sha256    str    SHA-256 of the whole photo's pixels: hq_sha256 unless the row is a tile.
lq_path         str    LQ image (PNG) relative to the data set's folder; null when pixels are not stored.
lq_sha256       str    SHA-256 of the LQ pixels (uint8 RGB, row by row).
bitstream_path  str    The coded bytes, relative to the data set's folder.
bitstream_sha256 str   SHA-256 of the bitstream file.
bitstream_bytes int    Size of the bitstream in bytes.
bpp             float  8 * bitstream_bytes / (width * height), in bits per HQ pixel.
width           int    Width of HQ and LQ in pixels.
height          int    Height of HQ and LQ in pixels.
chroma          str    Chroma format of the coded picture: "420" or "444".
bit_depth       int    Bits per sample; with conversion compressai-compat HM and VTM code 10.
matrix          str    RGB to Y'CbCr matrix: "bt709" or "bt601".
range           str    Range of the coded samples: "full" or "limited".
conversion      str    Who converts and how: "rounding", "compressai-compat", "libjpeg", "libwebp".
encoder         str    Encoder, e.g. "vvenc".
encoder_version str    Exact implementation that made the bitstream.
encoder_args    str    What was passed to it.
decoder_version str    Exact implementation that made the LQ pixels from the bitstream.
preset          str    Encoder effort; null where the encoder has none.
weights         str    Name of the weights of a learned codec, else null.
weights_sha256  str    SHA-256 of the weights file, else null.
device          str    Device that ran the codec: "cpu", "cuda", ...
threads         int    Threads the codec used for this row; fixed, never derived from --jobs.
psnr_rgb        float  PSNR of LQ against HQ in dB, RGB, full frame (protocol native-rgb); inf when equal.
psnr_y          float  PSNR in dB on Y, full frame (protocol native-y); inf when equal.
status          str    "ok", "warning" (usable; see note) or "error" (no LQ; see error).
note            str    Remarks: EXIF orientation applied, ICC profile ignored, LQ equals HQ; else null.
error           str    Why the row failed; null unless status is "error".
"""

_ARROW = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}


def columns(text: str) -> tuple[Column, ...]:
    """Columns from lines of name, type and meaning."""
    lines = (line.split(maxsplit=2) for line in text.strip().splitlines())
    return tuple(Column(name, kind, doc) for name, kind, doc in lines)


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    """Their Arrow schema; each field's metadata holds its meaning as ``description``."""
    return pa.schema(
        [pa.field(c.name, _ARROW[c.type], metadata={"description": c.doc}) for c in columns]
    )


COLUMNS = columns(_TEXT)
NAMES = tuple(column.name for column in COLUMNS)

ARROW_SCHEMA = arrow_schema(COLUMNS)
"""Arrow schema of ``manifest.parquet``; each field's metadata holds its description."""

TIMINGS_SCHEMA = pa.schema(
    [
        pa.field("row_id", pa.string(), metadata={"description": "The manifest's row_id."}),
        pa.field("encode_seconds", pa.float64(), metadata={"description": "Wall time of encode."}),
        pa.field(
            "decode_seconds",
            pa.float64(),
            metadata={"description": "Wall time of decode; null when not decoded."},
        ),
    ]
)
"""Arrow schema of ``timings.parquet``: kept apart so that two builds can be compared byte for byte."""


def markdown() -> str:
    """The text of ``manifests/schema.md``."""
    lines = [
        "# Manifest schema",
        "",
        f"Version {SCHEMA_VERSION}. One row per LQ image, sorted by `row_id`; parquet, zstd. "
        "Generated by `python -m cirbench.schema`; the same texts are in the file's field metadata.",
        "",
        "| column | type | meaning |",
        "|---|---|---|",
    ]
    lines += [f"| `{c.name}` | {c.type} | {c.doc.replace('|', '/')} |" for c in COLUMNS]
    lines += [
        "",
        "File-level metadata (key `cirbench`, JSON): `schema_version`, `cirbench_version`, `recipes` "
        "(name, version and SHA-256 of every recipe whose tasks were built).",
        "",
        "`timings.parquet` holds `row_id`, `encode_seconds`, `decode_seconds` (wall time).",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
