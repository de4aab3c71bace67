"""A checkpoint to give away: weights in half precision, no path of the machine it was made on.

    python -m cirbench.models.moe_diffir.shrink runs/tiny-1/compensator/step-0001200 small \\
        "BSDS500 train + val, recipe paper, mini weights" 4
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from .checkpoint import FILE, NAME, metadata


def shrink(source: Path, target: Path, data: str, steps: int) -> Path:
    """Write ``source``'s weights as float16 into folder ``target``; the path of the file.

    Args:
        source: a checkpoint that holds all of its model.
        target: made when missing.
        data: what it was trained on, for the metadata.
        steps: of its sampler from now on.

    Raises CirbenchError when ``source`` is no checkpoint of ours.
    """
    notes = {name: text for name, text in metadata(source).items() if name != "trained_on"}
    config = json.loads(notes["config"])
    config["sampler"]["steps"] = steps
    notes |= {"config": json.dumps(config), "data": data}
    with safe_open(source / FILE if source.is_dir() else source, "pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    # The latents' scale is one number that everything is multiplied with: kept as it is.
    state = {key: one if key == "latent_scale" else one.half() for key, one in state.items()}
    if any(not torch.isfinite(one).all() for one in state.values()):
        raise ValueError(f"a weight of {source} is too large for half precision")
    target.mkdir(parents=True, exist_ok=True)
    part = target / f"{FILE}.part"
    save_file(state, part, notes)
    os.replace(part, target / FILE)
    (target / "checkpoint.toml").write_text(f'model = "{NAME}"\n', encoding="utf-8")
    return target / FILE


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(f"usage: python -m {__spec__.name} CHECKPOINT FOLDER DATA STEPS")
    made = shrink(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    print(f"{made}: {made.stat().st_size / 1e6:.1f} MB")
