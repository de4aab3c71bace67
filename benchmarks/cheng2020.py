"""Cheng2020: our coder against CompressAI's ``compress()`` and ``decompress()``, side by side.

    python benchmarks/cheng2020.py [--photos DIR] [--n 128] [--limit 3] [--threads 2]

Random weights, scaled so that photos come out at 0.1 to 1 bpp (published ones cannot ship), one
run, the same threads for both. Per photo: bpp, seconds of each part, the ratios, whether the
strings are the same bytes, and how far our LQ is from ``decompress()`` of them. ``--no-decompress``
leaves CompressAI's decoder out: byte identity only. Exits with 1 when bytes or pixels disagree.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from cirbench.codecs import autoregressive, cheng2020, cheng2020_model, learned
from cirbench.codecs.torch_compat import import_torchvision

T = TypeVar("T")

LABELS = (
    "autoregressive part of compress()",
    "autoregressive part of decompress()",
    "both of them -> our encoder's, which knows the LQ without decoding",
    "both of them -> both of ours",
    "whole, compress() + decompress() -> stream + LQ",
    "whole -> stream + LQ, and the stream decoded again",
)


def random_model(n: int, seed: int = 0, architecture: str = "attn") -> Any:
    """CompressAI's Cheng2020 with random weights that behave like trained ones.

    Calibrated on a photo: the latent channels get standard deviations from 0.02 to 3 (most of them
    silent, as in a trained model), the predicted scales the same with spread, means and
    hyper-latents that vary: about 0.1 to 1 bpp. Entropy tables are made.
    """
    import_torchvision()
    from compressai.models import Cheng2020Anchor, Cheng2020Attention
    from skimage.data import astronaut

    torch.manual_seed(seed)
    model = {"attn": Cheng2020Attention, "anchor": Cheng2020Anchor}[architecture](n).eval()
    photo = torch.from_numpy(astronaut()[:256, :256].copy()).permute(2, 0, 1)[None] / 255
    spread = torch.exp(torch.linspace(np.log(0.02), np.log(3.0), n) - 0.5)[torch.randperm(n)]
    with torch.no_grad():
        for part in (model.h_s, model.entropy_parameters, model.context_prediction):
            for layer in part.modules():
                if isinstance(layer, torch.nn.Conv2d):
                    layer.weight *= 2
        last = [layer for layer in model.g_a if isinstance(layer, torch.nn.Conv2d)][-1]
        for _ in range(3):
            y = model.g_a(photo)
            gain = spread / y.std(dim=(0, 2, 3)).clamp_min(1e-6)
            last.weight *= gain[:, None, None, None]
            last.bias *= gain
        last.bias -= y.mean(dim=(0, 2, 3))
        z = model.h_a(model.g_a(photo))
        model.h_a[-1].weight *= 2 / z.std()
        out = model.entropy_parameters[-1]
        out.weight[:n] *= spread[:, None, None, None]
        out.weight[n:] *= 0.5 * spread[:, None, None, None]
        out.bias[:n] = spread * 1.1
    model.update()
    return model


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="folder of images; default: scikit-image's")
    parser.add_argument("--n", type=int, default=128, help="channels N")
    parser.add_argument("--limit", type=int, help="use the first LIMIT photos only")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--architecture", choices=("attn", "anchor"), default="attn")
    parser.add_argument("--no-decompress", action="store_true")
    options = parser.parse_args()
    photos = _photos(options.photos)[: options.limit]
    print(f"torch {torch.__version__}, {options.threads} threads, N={options.n}", flush=True)
    wrong, ratios = 0, []
    with learned.steady(options.threads):
        oracle = random_model(options.n, 0, options.architecture)
        net = _network(oracle, options.architecture)
    print(f"batched arithmetic has CompressAI's bits here: {net.context.fast}", flush=True)
    for name, rgb in photos:
        decompress = not options.no_decompress
        good, ratio = _compare(name, rgb, oracle, net, options.threads, decompress)
        wrong += not good
        ratios.append(ratio)
    checked = "strings" if options.no_decompress else "strings and decompress()'s picture"
    print(f"{len(photos) - wrong} of {len(photos)} photos: same {checked}")
    for label, values in zip(LABELS, np.transpose(ratios), strict=False):
        print(f"  times faster, {label}: median {np.median(values):.1f}, least {values.min():.1f}")
    return int(wrong > 0)


def _photos(folder: Path | None) -> list[tuple[str, np.ndarray]]:
    if folder is None:
        from skimage import data

        names = ("astronaut", "coffee", "chelsea")
        return [(name, np.ascontiguousarray(getattr(data, name)())) for name in names]
    from PIL import Image

    kinds = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in kinds)
    return [(path.stem, np.asarray(Image.open(path).convert("RGB"))) for path in files]


def _network(oracle: Any, architecture: str) -> cheng2020_model.Network:
    """Our coder, with the oracle's weights through a file as a build would load them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.pth.tar"
        torch.save(oracle.state_dict(), path)
        return cheng2020_model.network(path, architecture, "cpu")


def _timed(action: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def _compare(
    name: str,
    rgb: np.ndarray,
    oracle: Any,
    net: cheng2020_model.Network,
    threads: int,
    decompress: bool,
) -> tuple[bool, list[float]]:
    """Whether both agree on one photo, and the ratios of LABELS that were measured."""
    image = cheng2020._picture(rgb)
    size = (rgb.shape[0], rgb.shape[1])
    theirs: dict[str, float] = {}
    _clock(oracle, "_compress_ar", theirs)
    _clock(oracle, "_decompress_ar", theirs)
    with learned.counted(threads), torch.no_grad():
        theirs["compress"], coded = _timed(lambda: oracle.compress(image))
        if decompress:
            strings, shape = coded["strings"], coded["shape"]
            theirs["decompress"], out = _timed(lambda: oracle.decompress(strings, shape))
    ours: dict[str, float] = {}
    with learned.steady(threads):
        ours["stream"], (strings, y_hat) = _timed(lambda: net.compress(image))
        ours["LQ"], lq = _timed(lambda: cheng2020._pixels(net, y_hat, size))
        ours["decode"], again = _timed(lambda: net.latents(strings, cheng2020._padded(size)))
        y, params = _inputs(net, image)
        padded = strings[0] + bytes(8 * y.numel())
        with learned.counted(1):
            code, read = autoregressive.encode, autoregressive.decode
            ours["ar_encode"], _ = _timed(lambda: code(net.context, y, params))
            ours["ar_decode"], _ = _timed(lambda: read(net.context, padded, params))
    same = [coded["strings"][0][0], coded["strings"][1][0]] == list(strings)
    exact = torch.equal(again, y_hat)
    good = same and exact
    bpp = 8 * sum(map(len, strings)) / (size[0] * size[1])
    text = f"{name} {size[1]}x{size[0]} {bpp:.3f} bpp:"
    text += f" strings {'identical' if same else 'DIFFER'}, y_hat {'exact' if exact else 'WRONG'}"
    text += f"; autoregressive encode {theirs['_compress_ar']:.2f} -> {ours['ar_encode']:.3f} s"
    ratios = [theirs["_compress_ar"] / ours["ar_encode"]]
    if decompress:
        picture = (out["x_hat"] * 255).round()[0, :, : size[0], : size[1]]
        off = np.abs(picture.permute(1, 2, 0).numpy() - lq)
        good = good and off.max() <= 1 and float((off > 0).mean()) < 1e-4
        text += f", decode {theirs['_decompress_ar']:.2f} -> {ours['ar_decode']:.3f} s"
        text += f"; compress {theirs['compress']:.2f} + decompress {theirs['decompress']:.2f} s"
        text += f" -> stream {ours['stream']:.2f} + LQ {ours['LQ']:.2f} s"
        text += f" (+ decoding {ours['decode']:.2f} s)"
        text += f"; pixels off by one {(off > 0).mean():.5%}, by more {(off > 1).mean():.5%}"
        serial = theirs["_compress_ar"] + theirs["_decompress_ar"]
        whole = theirs["compress"] + theirs["decompress"]
        made = ours["stream"] + ours["LQ"]
        ratios += [
            theirs["_decompress_ar"] / ours["ar_decode"],
            serial / ours["ar_encode"],
            serial / (ours["ar_encode"] + ours["ar_decode"]),
            whole / made,
            whole / (made + ours["decode"]),
        ]
    print(text, flush=True)
    return good, ratios


def _inputs(net: cheng2020_model.Network, image: Tensor) -> tuple[Tensor, Tensor]:
    y = net.model.g_a(image)
    coder = net.model.entropy_bottleneck
    z = net.model.h_a(y)
    return y, net.model.h_s(coder.decompress(coder.compress(z), z.shape[2:]))


def _clock(model: Any, name: str, seconds: dict[str, float]) -> None:
    """Make ``model.name`` write the seconds of its last call into ``seconds``."""
    method = getattr(type(model), name)

    def timed(*args: Any) -> Any:
        seconds[name], result = _timed(lambda: method(model, *args))
        return result

    setattr(model, name, timed)


if __name__ == "__main__":
    sys.exit(main())
