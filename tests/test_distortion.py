from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio

from cirbench.metrics.distortion import psnr_pair

PAIRS = st.tuples(st.integers(1, 40), st.integers(1, 12)).flatmap(
    lambda size: st.tuples(*[arrays(np.uint8, (*size, 3))] * 2)
)


@given(PAIRS)
@settings(max_examples=60, deadline=None)
def test_psnr_equals_scikit_image(pair) -> None:
    hq, lq = pair
    psnr_rgb, psnr_y = psnr_pair(hq, lq)
    if (hq == lq).all():
        assert math.isinf(psnr_rgb) and math.isinf(psnr_y)
        return
    assert psnr_rgb == pytest.approx(peak_signal_noise_ratio(hq, lq), abs=1e-9)
    luma = [rgb2ycbcr(image)[..., 0] for image in (hq, lq)]
    if np.abs(luma[0] - luma[1]).max() > 1e-6:
        theirs = peak_signal_noise_ratio(*luma, data_range=255)
        assert psnr_y == pytest.approx(theirs, abs=1e-6)


def test_the_result_does_not_depend_on_memory_layout(photo) -> None:
    lq = photo // 16 * 16
    assert psnr_pair(photo[::-1], lq[::-1]) == psnr_pair(photo, lq)


def test_different_sizes_are_refused(photo) -> None:
    with pytest.raises(ValueError, match="LQ is"):
        psnr_pair(photo, photo[:-1])
