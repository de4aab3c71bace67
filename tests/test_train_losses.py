"""Terms of the losses, and sharpened targets, by numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from cirbench.metrics import gmsd, protocol  # noqa: E402
from cirbench.models.moe_diffir import losses  # noqa: E402


def unsharp(image: np.ndarray) -> np.ndarray:
    """The mask of (H, W, C) in [0, 1]: OpenCV's 51 taps have sigma 0.3 (51 / 2 - 1.5) + 0.8 = 8."""

    def blur(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, (8, 8, 0), radius=(25, 25, 0), mode="mirror")

    detail = image - blur(image)
    soft = blur((np.abs(detail) > 10 / 255).astype(float))
    return image + soft * (np.clip(image + 0.5 * detail, 0, 1) - image)


def test_sharpened_is_scipys_unsharp_mask(photo: np.ndarray) -> None:
    image = photo.astype(float) / 255
    batch = torch.from_numpy(image).permute(2, 0, 1)[None]
    found = losses.sharpened(batch)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, unsharp(image), atol=1e-9)
    assert np.abs(found - image).max() > 0.05


def test_what_is_smooth_stays_as_it_is() -> None:
    ramp = torch.linspace(0.2, 0.8, 96).expand(1, 3, 64, 96)
    inner = (..., slice(26, -26))
    assert torch.allclose(losses.sharpened(ramp)[inner], ramp[inner], atol=1e-6)


def test_gradients_compare_how_steep_pictures_are(photo: np.ndarray) -> None:
    hq = torch.from_numpy(photo.astype(float) / 255).permute(2, 0, 1)[None]
    made = hq.flip(1)
    expected = np.abs(steep(made[0].numpy()) - steep(hq[0].numpy())).mean()
    found = losses.image_loss(made, hq, {"gradients": 2.0}, random=False)
    np.testing.assert_allclose(float(found), 2 * expected, rtol=0.01)
    flat = torch.full_like(hq, 0.5, requires_grad=True)
    losses.image_loss(flat, hq, {"gradients": 1.0}, random=False).backward()
    assert torch.isfinite(flat.grad).all()


def test_the_ssim_term_is_scikit_images(photo: np.ndarray) -> None:
    hq = photo.astype(float) / 255
    made = gaussian_filter(hq, (1, 1, 0))
    options = {"gaussian_weights": True, "use_sample_covariance": False, "channel_axis": 2}
    _, map_ = structural_similarity(hq, made, data_range=1.0, full=True, **options)
    tensors = [torch.from_numpy(one).permute(2, 0, 1)[None] for one in (made, hq)]
    found = losses.image_loss(*tensors, {"ssim": 2.0}, random=False)
    assert float(found) == pytest.approx(2 * (1 - map_[5:-5, 5:-5].mean()), rel=1e-6)
    single = [one.float() for one in tensors]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = losses.image_loss(*single, {"ssim": 2.0}, random=False)
    assert float(mixed) == pytest.approx(float(found), rel=1e-4)


def test_the_gmsd_term_is_the_metric(photo: np.ndarray) -> None:
    made = gaussian_filter(photo.astype(float), (1, 1, 0)).round().astype(np.uint8)
    prepare = protocol.get("native-y").prepare
    expected = gmsd.gmsd([prepare(made)], prepare(photo), {})[0]
    tensors = [torch.from_numpy(one / 255).permute(2, 0, 1)[None].float() for one in (made, photo)]
    found = losses.image_loss(*tensors, {"gmsd": 1.0}, random=False)
    assert float(found) == pytest.approx(expected, rel=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = losses.image_loss(*tensors, {"gmsd": 1.0}, random=False)
    assert float(mixed) == pytest.approx(expected, rel=1e-3)
    same = tensors[1].clone().requires_grad_()
    losses.image_loss(same, tensors[1], {"gmsd": 1.0}, random=False).backward()
    assert torch.isfinite(same.grad).all()


def steep(image: np.ndarray) -> np.ndarray:
    across, down = np.diff(image, axis=2)[:, :-1], np.diff(image, axis=1)[:, :, :-1]
    return np.hypot(across, down)
