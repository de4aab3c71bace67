"""Metrics: named functions on prepared pixels, and the list of them.

>>> from cirbench import metrics
>>> from cirbench.metrics import protocol
>>> prepare = protocol.get("native-y").prepare
>>> memo = {}  # one per HQ image
>>> metrics.get("ssim").score([prepare(restored)], prepare(hq), memo)
array([0.91...])
"""

from __future__ import annotations

from functools import cache

from .. import suggest
from ..errors import CirbenchError
from ..listed import listed
from .base import Metric as Metric


@cache
def _by_name() -> dict[str, Metric]:
    from . import dists, fid, gmsd, libvmaf, lpips, niqe, psnr, pyiqa, ssim

    found = (
        psnr.PSNR,
        ssim.SSIM,
        ssim.MS_SSIM,
        psnr.PSNR_B,
        gmsd.GMSD,
        libvmaf.VMAF,
        libvmaf.VMAF_NEG,
        libvmaf.PSNR_HVS,
        libvmaf.CIEDE2000,
        lpips.LPIPS,
        lpips.LPIPS_VGG,
        dists.DISTS,
        fid.FID,
        niqe.NIQE,
        niqe.NIQE_SKVIDEO,
        pyiqa.CLIP_IQA,
        pyiqa.MANIQA,
    )
    return {metric.name: metric for metric in found}


def names() -> tuple[str, ...]:
    """Names of all metrics, in the order they are listed; also those that cannot run here."""
    return tuple(_by_name())


def get(name: str) -> Metric:
    """The metric called ``name``. Raises CirbenchError, suggesting the nearest names."""
    if name not in _by_name():
        raise CirbenchError(f"there is no metric {name!r}; {suggest.hint(name, names())}")
    return _by_name()[name]


def parse(text: str) -> tuple[Metric, ...]:
    """Metrics of a comma-separated list, in its order, each once; ``"all"`` are all of them.

    Raises CirbenchError for an unknown name (suggesting the nearest) and for an empty list.
    """
    wanted = listed(text)
    if not wanted:
        raise CirbenchError(f"no metric in {text!r}; name some of: {', '.join(names())}")
    chosen = names() if wanted == ["all"] else tuple(dict.fromkeys(wanted))
    return tuple(get(name) for name in chosen)
