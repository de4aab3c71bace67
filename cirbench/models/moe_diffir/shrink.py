"""A checkpoint to give away: weights in half precision, no path of the machine it was made on.

    python -m cirbench.models.moe_diffir.shrink runs/a/compensator/step-0001800 \\
        runs/b/compensator/step-0000800 small "BSDS500 train + val, recipe paper" 4

Of several checkpoints the mean is written: where one was trained on from the other, it restores
better than either (Wortsman et al. 2022, "Model soups").
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open

from ... import tensors
from ...errors import CirbenchError
from .checkpoint import FILE, NAME, metadata


def shrink(sources: Sequence[Path], target: Path, data: str, steps: int) -> Path:
    """Write the mean of checkpoints as float16 into folder ``target``; the path of the file.

    Args:
        sources: one or more that hold all of the same model; notes are those of the first.
        target: made when missing.
        data: what it was trained on, for the metadata.
        steps: of its sampler from now on.

    Raises CirbenchError when one is no checkpoint of ours, or of another model.
    """
    notes = {name: text for name, text in metadata(sources[0]).items() if name != "trained_on"}
    config = json.loads(notes["config"])
    config["sampler"]["steps"] = steps
    notes |= {"config": json.dumps(config), "data": data}
    states = [_state(source) for source in sources]
    for source, other in zip(sources, states, strict=True):
        if {key: one.shape for key, one in other.items()} != {
            key: one.shape for key, one in states[0].items()
        }:
            raise CirbenchError(f"{source} is of another model than {sources[0]}; give one's own")
    state = {
        key: torch.stack([one[key].float() for one in states]).mean(0).contiguous()
        for key in states[0]
    }
    # The latents' scale is one number that everything is multiplied with: kept as it is.
    state = {key: one if key == "latent_scale" else one.half() for key, one in state.items()}
    if any(not torch.isfinite(one).all() for one in state.values()):
        raise ValueError("a weight is too large for half precision")
    target.mkdir(parents=True, exist_ok=True)
    tensors.save(state, target / FILE, notes)
    (target / "checkpoint.toml").write_text(f'model = "{NAME}"\n', encoding="utf-8")
    return target / FILE


def _state(source: Path) -> dict[str, torch.Tensor]:
    metadata(source)
    with safe_open(source / FILE if source.is_dir() else source, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(f"usage: python -m {__spec__.name} CHECKPOINT... FOLDER DATA STEPS")
    *sources, target, data, steps = sys.argv[1:]
    made = shrink([Path(source) for source in sources], Path(target), data, int(steps))
    print(f"{made}: {made.stat().st_size / 1e6:.1f} MB")
