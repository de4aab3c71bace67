from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from skimage.color import rgb2ycbcr

from cirbench.codecs.torch_compat import import_torchvision
from cirbench.errors import CirbenchError, InputError
from cirbench.metrics import protocol


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
@settings(max_examples=40, deadline=None)
def test_y_is_that_of_scikit_image_not_rounded(rgb: np.ndarray) -> None:
    prepared = protocol.get("native-y").prepare(rgb)
    assert prepared.dtype == np.float64 and prepared.shape == (*rgb.shape[:2], 1)
    assert np.allclose(prepared[..., 0], rgb2ycbcr(rgb)[..., 0], atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_8_bit_value_survives_as_float(dtype: type) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(8, 32, 1).repeat(3, 2)
    floats = (values / 255).astype(dtype)
    assert (protocol.get("native-rgb").prepare(floats) == values).all()


def test_floats_are_clipped_and_rounded_to_nearest() -> None:
    values = np.array([-0.2, 0.0, 0.49 / 255, 0.51 / 255, 1.0, 7.0], np.float32)
    image = values.reshape(1, 6, 1).repeat(3, 2)
    assert protocol.to_rgb8(image)[0, :, 0].tolist() == [0, 0, 0, 1, 255, 255]


def test_what_is_no_rgb_image_is_refused_with_its_shape() -> None:
    with pytest.raises(InputError, match=r"shape \(4, 5\), metrics need RGB"):
        protocol.to_rgb8(np.zeros((4, 5), np.uint8))
    with pytest.raises(InputError, match="this image is int64"):
        protocol.to_rgb8(np.zeros((4, 5, 3), np.int64))
    image = np.zeros((2, 2, 3), np.float32)
    image[0, 0] = np.nan, np.inf, 0
    with pytest.raises(InputError, match="2 of 12 values of this image are NaN or infinite"):
        protocol.to_rgb8(image)


@pytest.mark.parametrize("size", [(96, 128), (300, 257), (256, 700), (511, 384)])
def test_paper_256_is_torchvision_s_resize_and_crop(size: tuple[int, int]) -> None:
    pytest.importorskip("torch")
    import_torchvision()
    transforms = pytest.importorskip("torchvision.transforms")
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    steps = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(256)])
    prepared = protocol.get("paper-256").prepare(rgb)
    assert prepared.shape == (256, 256, 3)
    assert (prepared == np.asarray(steps(Image.fromarray(rgb)))).all()


def test_crops_do_not_overlap_and_leave_the_rest_out() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    crops = protocol.get("patch-fid").prepare(rgb)
    assert crops.shape == (6, 128, 128, 3)
    assert (crops[1] == rgb[:128, 128:256]).all() and (crops[3] == rgb[128:256, :128]).all()
    assert protocol.crops(rgb[:100]).shape == (0, 128, 128, 3)


def test_a_mistyped_protocol_gets_a_suggestion() -> None:
    with pytest.raises(CirbenchError, match="no protocol 'native_y'; did you mean native-y"):
        protocol.get("native_y")
