"""How much a file may ask for before a byte of it is decoded."""

from __future__ import annotations

MAX_PIXELS = 178_956_970
"""Most pixels of an image: Pillow's own limit for decompression bombs."""

MAX_SCANS = 100
"""Most scans of a JPEG: encoders write at most a dozen, and each is another pass over it."""

MAX_TEXT = 1 << 22
"""Most characters of a TOML file."""
