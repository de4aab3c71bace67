"""Pictures of a run: a row per codec, HQ beside LQ beside what the model makes of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..codecs import RGB
from ..data.dataset import CIRDataset

_MARGIN, _TITLE = 4, 18


def examples(data: CIRDataset) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The middle task of every codec, the same crops every time; (batch, name of each row)."""
    tasks: dict[str, list[str]] = {}
    for task in dict.fromkeys(data.tasks):
        tasks.setdefault(task.split("-")[0], []).append(task)
    chosen = [sorted(names, key=_natural)[len(names) // 2] for names in tasks.values()]
    items = [data[data.tasks.index(task)] for task in chosen]
    batch = {key: torch.stack([item[key] for item in items]) for key in ("hq", "lq")}
    batch["task_id"] = torch.tensor([item["task_id"] for item in items])
    return batch, chosen


def _natural(task: str) -> tuple[int, str]:
    """Sorts jpeg-qf5 before jpeg-qf10."""
    return len(task), task


def draw(columns: Mapping[str, Any], rows: Sequence[str]) -> RGB:
    """Columns of pictures, (B, 3, H, W) in [0, 1], as one picture with titles."""
    pictures = {name: _pixels(one) for name, one in columns.items()}
    height, width = next(iter(pictures.values())).shape[1:3]
    left = 6 * max(map(len, rows)) + 3 * _MARGIN
    size = (
        left + len(pictures) * (width + _MARGIN),
        _TITLE + len(rows) * (height + _MARGIN),
    )
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for column, (name, images) in enumerate(pictures.items()):
        x = left + column * (width + _MARGIN)
        pen.text((x, _MARGIN), name, fill="black")
        for row, image in enumerate(images):
            sheet.paste(Image.fromarray(image), (x, _TITLE + row * (height + _MARGIN)))
    for row, name in enumerate(rows):
        y = _TITLE + row * (height + _MARGIN) + height // 2
        pen.text((_MARGIN, y), name, fill="black")
    return np.asarray(sheet)


def write(path: Path, pixels: RGB) -> None:
    """Write a PNG under another name, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    Image.fromarray(pixels).save(part, "PNG")
    os.replace(part, path)


def _pixels(images: Any) -> NDArray[np.uint8]:
    values = images.detach().float().clamp(0, 1).mul(255).round().byte()
    return np.ascontiguousarray(values.permute(0, 2, 3, 1).cpu().numpy())
