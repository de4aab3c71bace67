"""Network metrics against their own packages, on random weights saved in the published formats."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import crop
from scipy.linalg import sqrtm
from test_metrics_distortion import jpeg

from cirbench import metrics, weights
from cirbench.codecs.torch_compat import import_torchvision
from cirbench.errors import InputError, UnavailableError
from cirbench.metrics import dists, fid, inception, lpips, pyiqa

NETWORKS = ("lpips", "lpips-vgg", "dists", "fid")


def forget_models() -> None:
    for cached in (lpips.model, dists.model, fid._model, pyiqa.model):
        cached.cache_clear()


@pytest.fixture(autouse=True)
def no_weights_at_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("CIRBENCH_WEIGHTS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    forget_models()
    yield
    forget_models()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """torch hub's folder, where the packages look too; the records' hashes are taken away."""
    torch = pytest.importorskip("torch")
    import_torchvision()
    # The classifiers' 100 million random numbers take seconds, and nobody reads them.
    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", lambda self: None)
    monkeypatch.setattr(torch.nn.init, "normal_", lambda values, *moments: values)
    unhashed = tuple(replace(one, sha256="") for one in weights.records())
    monkeypatch.setattr(weights, "records", lambda: unhashed)
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def backbone(name: str, hub: Path) -> None:
    import torch
    import torchvision

    torch.manual_seed(3)
    state = getattr(torchvision.models, name)(weights=None).state_dict()
    if name == "vgg16":  # the classifier is 0.5 GB that nobody reads
        keep = lambda key: torch.empty(0) if key.startswith("class") else state[key]  # noqa: E731
        state = {key: keep(key) for key in state}
    torch.save(state, hub / weights.record(name).file)


@pytest.fixture
def pair() -> tuple[np.ndarray, list[np.ndarray]]:
    hq = crop("astronaut.png", (64, 80), (20, 180))
    return hq, [jpeg(hq, 5), jpeg(hq, 40), hq]


def tensor(image: np.ndarray):
    import torch

    return torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32)) / 255


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_equals_the_package(net: str, hub: Path, pair, monkeypatch) -> None:
    package = pytest.importorskip("lpips")
    name = {"alex": "alexnet", "vgg": "vgg16"}[net]
    backbone(name, hub)
    theirs = package.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    import torch

    state = torch.load(hub / weights.record(name).file)
    for part in ("slice1", "slice2", "slice3", "slice4", "slice5"):
        for number, layer in getattr(theirs.net, part).named_children():
            if hasattr(layer, "weight"):
                layer.weight.data = state[f"features.{number}.weight"]
                layer.bias.data = state[f"features.{number}.bias"]
    hq, restored = pair
    with torch.no_grad():
        expected = [float(theirs(tensor(i), tensor(hq), normalize=True)) for i in restored]
    metric = metrics.get("lpips" if net == "alex" else "lpips-vgg")
    assert metric.problem() == ""
    assert metric.score(restored, hq, {}) == pytest.approx(expected, abs=1e-6)
    assert expected[0] > expected[1] > expected[2] == 0


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_dists_equals_torchmetrics(hub: Path, pair, monkeypatch) -> None:
    theirs = pytest.importorskip("torchmetrics.functional.image.dists")
    import torch
    import torchvision

    backbone("vgg16", hub)
    state = torch.load(hub / weights.record("vgg16").file)
    features = torchvision.models.vgg16(weights=None).features
    features.load_state_dict({k[9:]: v for k, v in state.items() if k.startswith("features")})
    bare = types.SimpleNamespace(features=features)
    monkeypatch.setattr(theirs, "vgg16", lambda weights: bare)
    network = theirs.DISTSNetwork()
    hq, restored = pair
    expected = [float(network(tensor(i), tensor(hq))) for i in restored]
    assert metrics.get("dists").score(restored, hq, {}) == pytest.approx(expected, abs=1e-6)


def random_inception(hub: Path):
    """torchvision's Inception v3 with random weights, changed to FID's; and its file."""
    import torch
    import torch.nn.functional as F
    import torchvision

    torch.manual_seed(4)
    network = torchvision.models.Inception3(num_classes=1008, aux_logits=False, init_weights=False)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.05, 0.2)
    torch.save(network.state_dict(), hub / weights.record("fid-inception").file)
    network.dropout = network.fc = torch.nn.Identity()
    averages = F.avg_pool2d

    def without_padding(x, **options):
        return averages(x, **options, count_include_pad=False)

    def maximum(x, **options):
        return F.max_pool2d(x, **options)

    def last_block(x, block=network.Mixed_7c, inner=network.Mixed_7c.forward):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(F, "avg_pool2d", maximum)
            return inner(x)

    network.Mixed_7c.forward = last_block
    return network.eval(), without_padding


def test_inception_equals_torchvision_s_with_fid_s_pooling(hub: Path, monkeypatch) -> None:
    import torch
    import torch.nn.functional as F

    network, without_padding = random_inception(hub)
    images = np.stack([crop("coffee.png", (90, 120)), crop("chelsea.png", (90, 120))])
    found = fid.features(list(images), {})
    x = torch.cat([tensor(image) for image in images])
    x = 2 * F.interpolate(x, (299, 299), mode="bilinear", align_corners=False) - 1
    monkeypatch.setattr(F, "avg_pool2d", without_padding)
    with torch.inference_mode():
        expected = network(x).numpy()
    assert found.shape == (2, 2048) and expected.std() > 0.01
    assert np.allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("ours", "theirs"), [(30, 40), (300, 200), (2, 64)])
def test_frechet_equals_the_formula_with_a_matrix_root(ours: int, theirs: int) -> None:
    random = np.random.default_rng(ours)
    one = random.normal(size=(ours, 48))
    other = random.normal(0.2, 1.3, size=(theirs, 48)) @ random.normal(size=(48, 48)) / 7
    root = sqrtm(np.cov(one, rowvar=False) @ np.cov(other, rowvar=False) + 1e-12 * np.eye(48))
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() - 2 * np.trace(root).real
    expected += one.var(0, ddof=1).sum() + other.var(0, ddof=1).sum()
    assert fid.frechet(fid.fit(one), fid.fit(other)) == pytest.approx(expected, rel=1e-4)
    assert fid.frechet(fid.fit(one), fid.fit(one)) == pytest.approx(0, abs=1e-9)


def test_frechet_equals_torchmetrics() -> None:
    torch = pytest.importorskip("torch")
    import_torchvision()
    theirs = pytest.importorskip("torchmetrics.image.fid")._compute_fid
    random = np.random.default_rng(0)
    sets = [random.normal(i / 5, 1 + i / 3, size=(500, 32)) for i in range(2)]
    moments = [(torch.from_numpy(s.mean(0)), torch.from_numpy(np.cov(s.T))) for s in sets]
    expected = float(theirs(*moments[0], *moments[1]))
    assert fid.frechet(fid.fit(sets[0]), fid.fit(sets[1])) == pytest.approx(expected, rel=1e-6)


def test_fid_keeps_reference_statistics_counts_crops_and_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def features(images, memo):
        crops = np.concatenate([image.reshape(-1, *image.shape[-3:]) for image in images])
        calls.append(len(crops))
        return crops.mean((1, 2))

    monkeypatch.setattr(fid, "features", features)
    random = np.random.default_rng(0)
    hq = [random.integers(0, 256, (3, 128, 128, 3), np.uint8) for _ in range(2)]
    restored = [image // 2 for image in hq]
    file = tmp_path / "cache" / "live1.npz"
    memo: dict[str, object] = {"fid-file": file}
    with pytest.warns(fid.FewImagesWarning, match="FID of 6 images says little"):
        first = fid.score(restored, iter(hq), memo)
    assert first > 0 and memo["fid-count"] == 6 and calls == [6, 6]
    again: dict[str, object] = {"fid-file": str(file)}
    with pytest.warns(fid.FewImagesWarning):
        assert fid.score(restored, iter(()), again) == first
    assert calls == [6, 6, 6]
    with pytest.raises(InputError, match="at least 2 images"):
        fid.score([hq[0][:1]], [], again)


@pytest.mark.parametrize("name", NETWORKS)
def test_missing_weights_are_named_and_never_replaced(name: str, pair) -> None:
    pytest.importorskip("torch")
    metric = metrics.get(name)
    assert "cirbench weights pull" in metric.problem()
    record = {"lpips": "alexnet", "fid": "fid-inception"}.get(name, "vgg16")
    assert weights.record(record).file in metric.problem()
    with pytest.raises(UnavailableError, match="needs the weights"):
        metric.score(pair[1], pair[0], {})


def test_a_file_that_is_not_the_published_one_is_refused(hub: Path, pair, monkeypatch) -> None:
    backbone("alexnet", hub)
    monkeypatch.undo()
    monkeypatch.setenv("CIRBENCH_WEIGHTS", str(hub))
    with pytest.raises(UnavailableError, match="is not the published file"):
        metrics.get("lpips").score(pair[1], pair[0], {})


def test_weights_of_another_network_are_refused(hub: Path, pair) -> None:
    import torch

    for name in ("alexnet", "fid-inception"):
        torch.save({"a": torch.zeros(1)}, hub / weights.record(name).file)
    with pytest.raises(UnavailableError, match="alexnet are not torchvision's"):
        metrics.get("lpips").score(pair[1], pair[0], {})
    with pytest.raises(UnavailableError, match="are not the FID Inception's"):
        fid.features(pair[1], {})
    (hub / weights.record("alexnet").file).write_bytes(b"cut")
    with pytest.raises(UnavailableError, match="cannot be read; delete it"):
        metrics.get("lpips").score(pair[1], pair[0], {})


def test_pyiqa_is_asked_for_its_own_metric(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    made = []

    def create(name, device):
        made.append(name)
        return lambda image: image.mean()

    fake = types.ModuleType("pyiqa")
    fake.create_metric = create
    fake.__spec__ = types.SimpleNamespace(origin="pyiqa")
    monkeypatch.setitem(sys.modules, "pyiqa", fake)
    metric = metrics.get("clip-iqa")
    assert metric.problem() == "" and not metric.reference
    expected = [image.mean() / 255 for image in pair[1]]
    assert metric.score(pair[1], None, {}) == pytest.approx(expected, abs=1e-5)
    assert made == ["clipiqa"]


def test_without_pyiqa_its_licence_is_told(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyiqa.importlib.util, "find_spec", lambda name: None)
    assert "PolyForm-Noncommercial" in metrics.get("maniqa").problem()
    with pytest.raises(UnavailableError, match="pip install pyiqa"):
        metrics.get("maniqa").score(pair[1], None, {})


def test_the_list_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['torchvision'] = None\n"
        "import numpy as np\n"
        "from cirbench import metrics\n"
        "from cirbench.metrics import protocol\n"
        "image = protocol.to_rgb8(np.full((161, 161, 3), 0.5))\n"
        "y = protocol.luma(image)\n"
        "for metric in metrics.parse('psnr,ssim,ms-ssim,psnr-b,gmsd'):\n"
        "    metric.score([y], y, {})\n"
        "for metric in metrics.parse('vmaf,vmaf-neg,psnr-hvs,ciede2000'):\n"
        "    metric.score([image], image, {})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_network_s_layout_is_checked() -> None:
    assert not inception.fits({})
