from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab
from test_metrics_distortion import jpeg, one, rgb_of, y_of

from cirbench import metrics
from cirbench.codecs import ffmpeg_binary
from cirbench.errors import InputError, UnavailableError
from cirbench.metrics import libvmaf

NAMES = ("vmaf", "vmaf-neg", "psnr-hvs", "ciede2000")


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_scored_as_single_images_and_in_order(photo: np.ndarray, name: str) -> None:
    restored = [jpeg(photo, quality) for quality in (40, 5, 90)]
    together = metrics.get(name).score(restored, photo, {})
    assert together[1] < together[0] < together[2]
    # CIEDE2000 is summed by threads in any order: its last digit.
    assert together == pytest.approx([one(name, image, photo) for image in restored], abs=2e-6)


def test_equal_images(photo: np.ndarray) -> None:
    assert one("psnr-hvs", photo, photo) == one("ciede2000", photo, photo) == np.inf
    assert 95 < one("vmaf", photo, photo) <= 100


def run(filter_name: str, restored: np.ndarray, hq: np.ndarray, folder: Path, pixels: str) -> str:
    """What an ffmpeg filter that compares two raw images prints."""
    height, width = hq.shape[:2]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner"]
    for name, image in (("a", restored), ("b", hq)):
        planes = image if pixels == "rgb24" else np.rint(image[..., 0]).astype(np.uint8)
        (folder / name).write_bytes(planes.tobytes())
        size = ["-f", "rawvideo", "-pix_fmt", pixels, "-s", f"{width}x{height}"]
        command += [*size, "-i", str(folder / name)]
    command += ["-lavfi", filter_name, "-f", "null", "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


def test_psnr_equals_ffmpeg_s_and_ssim_is_near_it(photo: np.ndarray, tmp_path: Path) -> None:
    lq = jpeg(photo, 10)
    said = run("psnr", np.rint(y_of(lq)), np.rint(y_of(photo)), tmp_path, "gray")
    theirs = float(re.search(r"average:([\d.]+)", said)[1])
    assert one("psnr", np.rint(y_of(lq)), np.rint(y_of(photo))) == pytest.approx(theirs, abs=1e-5)
    # ffmpeg's SSIM takes means over 8x8 boxes, not under a Gaussian.
    said = run("ssim", y_of(lq), y_of(photo), tmp_path, "gray")
    theirs = float(re.search(r"All:([\d.]+)", said)[1])
    assert one("ssim", y_of(lq), y_of(photo)) == pytest.approx(theirs, abs=0.03)


def test_vmaf_equals_ffmpeg_called_on_its_own_conversion(photo: np.ndarray, tmp_path: Path) -> None:
    lq = jpeg(photo, 15)
    to_yuv = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd,format=yuv444p"
    graph = f"[0]{to_yuv}[a];[1]{to_yuv}[b];[a][b]libvmaf=log_fmt=json:log_path={tmp_path}/log"
    run(graph, lq, photo, tmp_path, "rgb24")
    theirs = json.loads((tmp_path / "log").read_text())["frames"][0]["metrics"]["vmaf"]
    assert one("vmaf", rgb_of(lq), rgb_of(photo)) == pytest.approx(theirs, abs=0.2)


def test_ciede2000_is_near_scikit_image_s(photo: np.ndarray) -> None:
    """libvmaf's weights are kL 0.65, kC 1, kH 4, and the mean comes before the logarithm.

    Measured on photos: up to 0.08 apart, either way.
    """
    lq = jpeg(photo, 10)
    pair = [rgb2lab(np.clip(back(libvmaf.yuv444(i), i.shape), 0, 1)) for i in (photo, lq)]
    difference = deltaE_ciede2000(*pair, kL=0.65, kC=1, kH=4).mean()
    assert one("ciede2000", lq, photo) == pytest.approx(45 - 20 * np.log10(difference), abs=0.1)


def back(planes: bytes, shape: tuple[int, ...]) -> np.ndarray:
    y, cb, cr = np.frombuffer(planes, np.uint8).reshape(3, *shape[:2]).astype(float)
    y, cb, cr = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
    red, blue = y + 1.5748 * cr, y + 1.8556 * cb
    return np.stack((red, (y - 0.2126 * red - 0.0722 * blue) / 0.7152, blue), -1)


def test_the_conversion_is_swscale_s_within_its_rounding(photo: np.ndarray) -> None:
    frame = av.VideoFrame.from_ndarray(photo, "rgb24")
    theirs = frame.reformat(
        format="yuv444p", dst_colorspace="ITU709", src_color_range="JPEG", dst_color_range="MPEG"
    )
    ours = np.frombuffer(libvmaf.yuv444(photo), np.uint8).reshape(3, *photo.shape[:2])
    assert np.abs(ours.astype(int) - theirs.to_ndarray().reshape(ours.shape)).max() <= 2


def test_small_images_and_a_missing_libvmaf_are_reported(
    photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="vmaf needs at least 32x32 pixels, this is 20x40"):
        one("vmaf", photo[:40, :20], photo[:40, :20])
    monkeypatch.setattr(ffmpeg_binary, "path", lambda: "/bin/echo")
    libvmaf.problem.cache_clear()
    try:
        assert "has no libvmaf" in metrics.get("vmaf").problem()
        with pytest.raises(UnavailableError, match="has no libvmaf"):
            one("vmaf", photo, photo)
    finally:
        libvmaf.problem.cache_clear()
