"""LPIPS: Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual
metric".

Version 0.1 of the package ``lpips``: its networks and its linear layers (inside its wheel), with
ImageNet backbones from torchvision's files, put in place without its downloader. Images are 8-bit
RGB at full size, scaled to [-1, 1].
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codecs.torch_compat import import_torchvision
from ..errors import UnavailableError
from . import networks
from .base import Image, Memo, Metric, require_same_size, require_side

_BACKBONES = {"alex": "alexnet", "vgg": "vgg16"}
_SMALLEST = 32


def problem(net: str) -> str:
    """``""`` when LPIPS with backbone ``net`` (``"alex"``, ``"vgg"``) can run here."""
    title = "LPIPS" if net == "alex" else "LPIPS (VGG)"
    return networks.problem(title, ("torch", "torchvision", "lpips"), (_BACKBONES[net],))


@lru_cache(maxsize=2)
def model(net: str, device: str) -> Any:
    """The package's network with the backbone's weights; in eval mode.

    Raises UnavailableError when the file does not fit.
    """
    import_torchvision()
    import lpips

    network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    stored = networks.load(_BACKBONES[net])
    own = network.net.state_dict()  # "slice2.3.weight" is torchvision's "features.3.weight"
    try:
        network.net.load_state_dict({k: stored[re.sub(r"^slice\d+", "features", k)] for k in own})
    except (KeyError, RuntimeError) as error:
        name = _BACKBONES[net]
        raise UnavailableError(f"the weights {name} are not torchvision's {name}") from error
    return network.requires_grad_(False).eval().to(device)


def score(restored: Sequence[Image], hq: Image, memo: Memo, *, net: str) -> NDArray[np.float64]:
    """LPIPS of B restored 8-bit RGB images and their HQ image; (B,).

    Raises InputError below 32x32 pixels, ValueError when sizes differ, UnavailableError when
    packages or weights are missing.
    """
    if text := problem(net):
        raise UnavailableError(text)
    import torch

    require_side("LPIPS", hq, _SMALLEST)
    network = model(net, networks.device(memo))
    scores = []
    with torch.inference_mode():
        if f"lpips-{net}" not in memo:
            memo[f"lpips-{net}"] = _features(network, hq, memo)
        for image in restored:
            require_same_size(image, hq)
            pairs = zip(
                network.lins, _features(network, image, memo), memo[f"lpips-{net}"], strict=True
            )
            scores.append(float(sum(lin((a - b) ** 2).mean() for lin, a, b in pairs)))
    return np.array(scores, np.float64)


def _features(network: Any, image: Image, memo: Memo) -> list[Any]:
    """Unit-length features of every layer."""
    import lpips

    scaled = network.scaling_layer(2 * networks.tensor(image, memo) - 1)
    return [lpips.normalize_tensor(layer) for layer in network.net(scaled)]


def _metric(name: str, title: str, net: str, doc: str) -> Metric:
    function: Callable[..., NDArray[np.float64]] = partial(score, net=net)
    return Metric(
        name=name,
        title=title,
        better="lower",
        unit="",
        digits=4,
        per="image",
        reference=True,
        protocols=("native-rgb", "paper-256"),
        problem=partial(problem, net),
        score=function,
        doc=doc,
    )


LPIPS = _metric(
    "lpips", "LPIPS", "alex", "Zhang et al. 2018, version 0.1, AlexNet; 0 is equal, up to about 1"
)
LPIPS_VGG = _metric(
    "lpips-vgg", "LPIPS (VGG)", "vgg", "Zhang et al. 2018, version 0.1, VGG-16; 0 is equal"
)
