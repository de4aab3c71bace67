"""Seconds per megapixel of HiFiC at full size, encode and decode, with random weights.

    python benchmarks/hific.py --threads 1 2 --height 512 --width 768

Random weights take the same time as trained ones; they are scaled for a bit rate of about 0.5 bpp.
``--keep FOLDER`` leaves the three checkpoints (2.2 GB, the public format and file names) behind,
for trying a whole build without the published weights.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from cirbench import weights
from cirbench.codecs import hific, torch_compat


def save_random(path: Path, level: str) -> None:
    """A full-size checkpoint in the public format; low and high with ``-norm``, med logistic."""
    import torch

    from cirbench.codecs.hific_model import Config, HiFiC

    torch.manual_seed(hific.LEVELS.index(level))
    med = level == "med"
    config = Config(signed=not med, likelihood="logistic" if med else "gaussian")
    model = HiFiC(config)
    with torch.no_grad():
        for name, values in model.named_parameters():
            if name.endswith("weight") and values.dim() == 4:
                torch.nn.init.kaiming_normal_(values, nonlinearity="relu")
        model.Encoder.get_submodule("conv_block_out.1").get_parameter("weight").mul_(0.2)
        for net in (model.Hyperprior.synthesis_mu, model.Hyperprior.synthesis_std):
            net.conv3.weight.mul_(0.02)
        model.Generator.get_submodule("conv_block_out.1").get_parameter("weight").mul_(0.2)
    args = {
        "latent_channels": config.latent,
        "n_residual_blocks": config.blocks,
        "use_channel_norm": config.channel_norm,
        "normalize_input_image": config.signed,
        "likelihood_type": config.likelihood,
    }
    torch.save({"args": args, "model_state_dict": model.state_dict()}, path)


def picture(height: int, width: int) -> np.ndarray:
    """Something with edges and gradients."""
    y, x = np.mgrid[:height, :width]
    waves = [
        np.sin(x / a) * np.cos(y / b) + ((x // 37 + y // 23) % 2)
        for a, b in ((9, 31), (60, 14), (23, 23))
    ]
    return np.clip(np.stack(waves, -1) * 70 + 90, 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--levels", nargs="+", choices=hific.LEVELS, default=["low"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    torch_compat.import_torchvision()
    rgb = picture(options.height, options.width)
    megapixels = options.height * options.width / 1e6
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["CIRBENCH_WEIGHTS"] = str(folder)
        print("level  threads  bpp    encode s/MP  decode s/MP  (best of runs)")
        for level in hific.LEVELS if options.keep else options.levels:
            path = folder / weights.record(f"hific-{level}").file
            if not path.exists():
                save_random(path, level)
        for level in options.levels:
            for threads in options.threads:
                settings = {"weights": "published", "device": options.device, "threads": threads}
                coded = hific.encode(rgb, level, settings)  # loads the weights
                encode, decode = [], []
                for _ in range(options.repeat):
                    start = time.perf_counter()
                    coded = hific.encode(rgb, level, settings)
                    middle = time.perf_counter()
                    decoded = hific.decode(coded.bitstream, rgb.shape[:2], settings)
                    end = time.perf_counter()
                    assert np.array_equal(decoded, coded.reconstruction)
                    encode.append((middle - start) / megapixels)
                    decode.append((end - middle) / megapixels)
                bpp = 8 * len(coded.bitstream) / rgb[..., 0].size
                times = f"{min(encode):11.2f}  {min(decode):11.2f}"
                print(f"{level:5}  {threads:7}  {bpp:5.3f}  {times}", flush=True)


if __name__ == "__main__":
    main()
