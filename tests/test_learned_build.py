"""Learned codecs through the whole build, with small random networks under the published names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import imagecodecs
import pytest

torch = pytest.importorskip("torch")
from cirbench.codecs import torch_compat  # noqa: E402

torch_compat.import_torchvision()
pytest.importorskip("compressai")

from tiny_hific import save_all  # noqa: E402

import cirbench  # noqa: E402
from cirbench import Manifest, weights  # noqa: E402
from cirbench.builder import remote  # noqa: E402
from cirbench.builder.row import Target  # noqa: E402
from cirbench.errors import CirbenchError  # noqa: E402
from cirbench.verify import verify  # noqa: E402

LEARNED = ["c_psnr", "c_ssim", "hific"]


def _module(path: Path) -> ModuleType:
    import importlib.util

    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small random weights of all nine learned tasks, under their published names."""
    here = Path(__file__).parent
    cheng = _module(here.parent / "benchmarks" / "cheng2020.py")
    folder = tmp_path_factory.mktemp("published")
    for number, record in enumerate(weights.records()):
        if record.model == "cheng2020-attn" and record.kind == "published":
            torch.save(cheng.random_model(16, number).state_dict(), folder / record.file)
    return save_all(folder)


@pytest.fixture
def photo_folder(photo, tmp_path) -> Path:
    folder = tmp_path / "two"
    folder.mkdir()
    (folder / "a.png").write_bytes(imagecodecs.png_encode(photo))
    (folder / "b.png").write_bytes(imagecodecs.png_encode(photo[:49, :65]))
    return folder


@pytest.fixture
def published(files, monkeypatch) -> Path:
    monkeypatch.setenv("CIRBENCH_WEIGHTS", str(files))
    return files


def test_nine_tasks_per_photo_with_their_weights_on_record(
    published, photo_folder, tmp_path
) -> None:
    out = tmp_path / "out"
    result = cirbench.build(photo_folder, codec=LEARNED, out=out, store_mode="bitstream")
    assert (result.made, result.failed, result.unavailable) == (18, 0, {})
    for row in Manifest.open(out):
        assert row["weights_sha256"] == weights.sha256(
            published / weights.record(row["weights"].removesuffix(" (modified)")).file
        )
        # Random weights are not what CompressAI published; HiFiC's publisher gives no hash.
        assert row["weights"].endswith(" (modified)") == (row["codec"] != "hific")
        assert row["device"] == "cpu" and row["threads"] == 1 and row["chroma"] is None
        assert row["lq_path"]  # slow to decode: pixels are kept
    assert verify(out, decode=True).problems == []


def test_jobs_do_not_change_bits_or_pixels(published, photo_folder, tmp_path) -> None:
    for jobs in (1, 2):
        cirbench.build(photo_folder, codec=LEARNED, out=tmp_path / str(jobs), jobs=jobs)
    first, second = ((tmp_path / n / "manifest.parquet").read_bytes() for n in "12")
    assert first == second


def test_weights_of_another_run_are_refused_when_decoding(
    published, photo_folder, tmp_path, monkeypatch
) -> None:
    out = tmp_path / "out"
    cirbench.build(photo_folder, codec="c_psnr", level=[1], out=out)
    monkeypatch.setenv("CIRBENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(CirbenchError, match="weights pull cheng2020-attn-mse-q1"):
        Manifest.open(out).lq(next(iter(Manifest.open(out))), stored=False)
    name = weights.record("cheng2020-attn-mse-q1").file
    other = published / weights.record("cheng2020-attn-mse-q2").file
    (tmp_path / name).write_bytes(other.read_bytes())
    problems = verify(out, decode=True).problems
    assert len(problems) == 2 and all(
        "use the weights its manifest row names" in p for p in problems
    )


def test_weights_of_another_file_are_refused_instead_of_mixed(
    published, photo_folder, tmp_path, monkeypatch
) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    cirbench.build(photo_folder, codec="c_psnr", level=[1], out=out)
    other.mkdir()
    source = published / weights.record("cheng2020-attn-mse-q2").file
    (other / weights.record("cheng2020-attn-mse-q1").file).write_bytes(source.read_bytes())
    monkeypatch.setenv("CIRBENCH_WEIGHTS", str(other))
    with pytest.raises(CirbenchError, match="c_psnr rows at q1 .* were made with other weights"):
        cirbench.build(photo_folder, codec="c_psnr", level=[1], out=out)
    monkeypatch.setenv("CIRBENCH_WEIGHTS", str(published))
    assert cirbench.build(photo_folder, codec="c_psnr", level=[1], out=out).skipped == 2


def test_a_worker_with_other_weights_is_refused() -> None:
    target = Target(Path(), "png", "ref", "paper", {}, {("c_psnr", "q1", "{}"): "a" * 64})
    row = {"codec": "c_psnr", "level": "q1", "settings": "{}", "weights_sha256": "b" * 64}
    with pytest.raises(CirbenchError, match="other weights for c_psnr q1"):
        remote._check_weights(row, target)
    remote._check_weights(row | {"weights_sha256": "a" * 64}, target)
    remote._check_weights({"status": "error"}, target)  # of a photo that cannot be used


def build_in(folder: Path, photos: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cirbench", "build", str(photos), *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_without_weights_each_codec_says_what_it_needs_and_the_rest_is_built(
    photo_folder, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("CIRBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    options = ("--codec", "jpeg,c_psnr,c_ssim,hific", "--weights", "published")
    done = build_in(tmp_path, photo_folder, *options)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "8 rows made" in done.stdout and "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if "was left out" in line]
    assert [line.split()[1] for line in lines] == LEARNED
    for line, name in zip(lines, ("attn-mse-q1", "attn-ms-ssim-q1", "hific-low"), strict=True):
        assert (
            "B, licence" in line
            and f"cirbench weights pull {'cheng2020-' * ('attn' in name)}{name}" in line
        )
    done = build_in(
        tmp_path, photo_folder, "--codec", "hific", "--weights", "published", "--out", "o"
    )
    assert done.returncode == 1 and "hific_low.pt" in done.stderr


def test_modified_weights_are_announced(published, photo_folder, tmp_path) -> None:
    done = build_in(tmp_path, photo_folder, "--codec", "c_psnr", "--level", "1")
    assert done.returncode == 0 and "NOT the published file" in done.stderr


def test_mini_weights_are_loud_and_a_variant_of_the_task(
    files, photo_folder, tmp_path, monkeypatch
) -> None:
    """With made-up mini records, whose files are the fixture's."""
    from dataclasses import replace

    from cirbench.builder import available
    from cirbench.recipe import load, select

    tasks = select(load("paper"), ["c_psnr"])
    real = [record for record in weights.records() if record.kind == "published"]
    mine = [
        replace(r, kind="mini", name=f"{r.name}-mini", url="") for r in real if r.codec == "c_psnr"
    ]
    monkeypatch.setattr(weights, "records", lambda: (*real, *mine))
    monkeypatch.setattr(weights, "mini_dir", lambda: files)
    monkeypatch.setenv("CIRBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = available.check(tasks, "auto")
    assert [task.variant for task in found.tasks] == ["weights=mini"] * 3
    assert "MINI weights" in found.remarks[0]
    monkeypatch.setenv("CIRBENCH_WEIGHTS", str(files))
    found = available.check(tasks, "auto")
    assert [task.variant for task in found.tasks] == [""] * 3
    (tmp_path / mine[0].file).write_bytes((files / mine[0].file).read_bytes())
    monkeypatch.setenv("CIRBENCH_WEIGHTS", str(tmp_path))  # q1 only: never some of each
    found = available.check(tasks, "auto")
    assert [task.variant for task in found.tasks] == ["weights=mini"] * 3


def test_info_lists_the_learned_codecs(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    command = [sys.executable, "-m", "cirbench", "info"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "cirbench weights pull hific-low" in done.stdout
