"""How to read an export: the paragraph of its data card that users copy from."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from . import layout


def text(
    file_format: str, content: str, hq: bool, table: pa.Table, shards: Mapping[str, int]
) -> str:
    """Markdown for one export; empty for a card alone."""
    if file_format == "card":
        return ""
    task = layout.task_name(next(layout.rows(table.slice(0, 1))))
    splits = sorted({s or "all" for s in table["split"].unique().to_pylist()})
    if file_format == "webdataset":
        body = _webdataset(content, hq, shards)
    elif file_format == "hf":
        body = _hf(task, hq, splits)
    else:
        body = _folders(task, splits) + (_CROISSANT if file_format == "croissant" else "")
    return "\n\n".join(["## Use", *([] if hq else [_no_hq(file_format)]), body])


def _no_hq(file_format: str) -> str:
    there = " They belong at `HQ/NAME.png`." if file_format in ("folders", "croissant") else ""
    return (
        f"The HQ images are not here.{there} `hq_root` and `hq_path` name the photo of each row, "
        "`hq_sha256` is that of its pixels (uint8 RGB, row by row)."
    )


def _folders(task: str, splits: list[str]) -> str:
    return (
        "`HQ/NAME.png` and `LQ/TASK/NAME.png` are a pair; `rows.parquet` has a row per LQ image "
        "with all that the manifest knows, `hq_file` and `lq_file`. `meta_info/` has the lists of "
        f"paired loaders, for {' and '.join(splits)}:\n\n"
        f"- `{task}_{splits[0]}.txt` and so on, one per task, for BasicSR's `PairedImageDataset` "
        f"(`dataroot_gt: HQ`, `dataroot_lq: LQ/{task}`, "
        f"`meta_info_file: meta_info/{task}_{splits[0]}.txt`);\n"
        f"- `all_{splits[0]}.txt` with the pairs of all tasks, for Real-ESRGAN's "
        f"`RealESRGANPairedDataset` (`dataroot_gt` and `dataroot_lq`: this folder, "
        f"`meta_info: meta_info/all_{splits[0]}.txt`)."
    )


_CROISSANT = """

`croissant.json` describes it as Croissant 1.0:

```python
import mlcroissant

dataset = mlcroissant.Dataset(jsonld="croissant.json")
pairs = list(dataset.records("pairs"))  # the manifest; hq_file and lq_file name images
images = {record["lq/file"]: record["lq/image"] for record in dataset.records("lq")}
```"""


def _hf(task: str, hq: bool, splits: list[str]) -> str:
    images = 'row["hq"] and row["lq"] are PIL images' if hq else 'row["lq"] is a PIL image'
    return (
        "```python\n"
        "from datasets import load_dataset\n\n"
        f'dataset = load_dataset("FOLDER", split="{splits[0]}")\n'
        f"row = dataset[0]  # {images}, the rest is the manifest\n"
        f'one_task = dataset.filter(lambda task: task == "{task.partition("+")[0]}", '
        'input_columns="task")\n'
        "```"
    )


def _webdataset(content: str, hq: bool, shards: Mapping[str, int]) -> str:
    lists = ", ".join(f"`{_braces(split, number)}`" for split, number in sorted(shards.items()))
    first = _braces(*min(shards.items()))
    image = "one HQ image (`hq.png`)" if hq else "one HQ image (left out)"
    pair = 'hq, lq = sample["hq.png"],' if hq else "lq ="
    if content == "png":
        what, only = "PNGs", ""
        imports, take = "", f'        {pair} sample[row["lq_file"]]\n'
    else:
        what, only = "bitstreams", ', only=["hq.png", "json"]'
        imports = "import json\n\nimport cirbench\n"
        take = (
            '        codec = cirbench.codecs.get(row["codec"])\n'
            '        size, settings = (row["height"], row["width"]), json.loads(row["settings"])\n'
            f'        {pair} codec.decode(sample[row["bitstream_file"]], size, settings)\n'
        )
    return (
        f"Shards: {lists}. A sample is {image} with the {what} of its tasks; its `json` has the "
        "manifest's rows and the name of the file of each:\n\n"
        f"```python\n{imports}import webdataset\n\n"
        f'samples = webdataset.WebDataset("{first}", shardshuffle=False)\n'
        f'for sample in samples.decode("rgb8"{only}):\n'
        '    for row in sample["json"]["rows"]:\n'
        f"{take}```" + (_RESTORE if content == "bitstream" else "")
    )


_RESTORE = (
    "\n\n`cirbench import FOLDER --out DIR` makes the data set again, pixels included, and checks "
    "every hash."
)


def _braces(split: str, number: int) -> str:
    """``train-{000000..000003}.tar``, or the one shard's name."""
    last = f"{number - 1:06d}"
    return f"{split}-{{000000..{last}}}.tar" if number > 1 else f"{split}-000000.tar"
