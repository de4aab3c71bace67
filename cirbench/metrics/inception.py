"""Features of the FID Inception: Inception v3 with the weights TensorFlow's FID used in 2015.

Layer names are torchvision's; the differences from its Inception v3 are the 1008 classes, averages
that leave the padding out (Mixed_5 and Mixed_6 blocks, Mixed_7b), and a maximum in Mixed_7c.
Written as functions of the state dict, so that this file needs no torch to be imported.
"""

from __future__ import annotations

from typing import Any

State = dict[str, Any]
"""``"Mixed_5b.branch1x1.conv.weight"`` and so on, from the file ``pt_inception-2015-12-05``."""

_LAST = "Mixed_7c.branch_pool.conv.weight"


def fits(state: State) -> bool:
    """Whether a state dict is this network's."""
    return _LAST in state and tuple(state[_LAST].shape) == (192, 2048, 1, 1)


def features(state: State, images: Any) -> Any:
    """(N, 2048) features of float (N, 3, H, W) images in [0, 1].

    As pytorch-fid: resized to 299x299 (bilinear, half-pixel centres, no antialiasing), scaled to
    [-1, 1], averaged over the last 8x8 map.
    """
    import torch.nn.functional as F

    x = F.interpolate(images, (299, 299), mode="bilinear", align_corners=False)
    x = 2 * x - 1
    x = _unit(state, "Conv2d_1a_3x3", x, stride=2, same=False)
    x = _unit(state, "Conv2d_2a_3x3", x, same=False)
    x = _unit(state, "Conv2d_2b_3x3", x)
    x = F.max_pool2d(x, 3, 2)
    x = _unit(state, "Conv2d_3b_1x1", x)
    x = _unit(state, "Conv2d_4a_3x3", x, same=False)
    x = F.max_pool2d(x, 3, 2)
    for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = _cat(
            _chain(state, name, x, "branch1x1"),
            _chain(state, name, x, "branch5x5_1", "branch5x5_2"),
            _chain(state, name, x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
            _chain(state, name, _average(x), "branch_pool"),
        )
    x = _cat(
        _unit(state, "Mixed_6a.branch3x3", x, stride=2, same=False),
        _halved(state, "Mixed_6a", x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
        F.max_pool2d(x, 3, 2),
    )
    for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = _cat(
            _chain(state, name, x, "branch1x1"),
            _chain(state, name, x, *(f"branch7x7_{i}" for i in (1, 2, 3))),
            _chain(state, name, x, *(f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5))),
            _chain(state, name, _average(x), "branch_pool"),
        )
    x = _cat(
        _halved(state, "Mixed_7a", x, "branch3x3_1", "branch3x3_2"),
        _halved(state, "Mixed_7a", x, *(f"branch7x7x3_{i}" for i in (1, 2, 3, 4))),
        F.max_pool2d(x, 3, 2),
    )
    for name in ("Mixed_7b", "Mixed_7c"):
        pooled = _average(x) if name == "Mixed_7b" else F.max_pool2d(x, 3, 1, 1)
        single = _chain(state, name, x, "branch3x3_1")
        double = _chain(state, name, x, "branch3x3dbl_1", "branch3x3dbl_2")
        x = _cat(
            _chain(state, name, x, "branch1x1"),
            *(_chain(state, name, single, f"branch3x3_2{half}") for half in "ab"),
            *(_chain(state, name, double, f"branch3x3dbl_3{half}") for half in "ab"),
            _chain(state, name, pooled, "branch_pool"),
        )
    return x.mean((2, 3))


def _unit(state: State, name: str, x: Any, stride: int = 1, same: bool = True) -> Any:
    """Convolution without bias, batch norm, ReLU."""
    import torch.nn.functional as F

    kernel = state[f"{name}.conv.weight"]
    padding = tuple(side // 2 for side in kernel.shape[2:]) if same else 0
    x = F.conv2d(x, kernel, stride=stride, padding=padding)
    mean, variance = state[f"{name}.bn.running_mean"], state[f"{name}.bn.running_var"]
    scale, shift = state[f"{name}.bn.weight"], state[f"{name}.bn.bias"]
    return F.relu(F.batch_norm(x, mean, variance, scale, shift, eps=0.001))


def _chain(state: State, block: str, x: Any, *names: str) -> Any:
    for name in names:
        x = _unit(state, f"{block}.{name}", x)
    return x


def _halved(state: State, block: str, x: Any, *names: str) -> Any:
    """A chain whose last convolution has stride 2 and no padding."""
    x = _chain(state, block, x, *names[:-1])
    return _unit(state, f"{block}.{names[-1]}", x, stride=2, same=False)


def _average(x: Any) -> Any:
    import torch.nn.functional as F

    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _cat(*parts: Any) -> Any:
    import torch

    return torch.cat(parts, 1)
