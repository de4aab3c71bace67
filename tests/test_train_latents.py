"""Stage II's latents: no more than are drawn, and none of another run."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("accelerate")
pytest.importorskip("tensorboard")

from safetensors.torch import load_file  # noqa: E402
from small_run import micro, one_stage, quiet, request  # noqa: E402

from cirbench.data.sampler import Draw  # noqa: E402
from cirbench.errors import CirbenchError  # noqa: E402
from cirbench.train import batches, latents, run  # noqa: E402
from cirbench.train.settings import DataSettings  # noqa: E402

KEY = {"weights": "a"}


class Sampler:
    """Stands in for the model: a latent is its seed's noise; counts what it was asked for."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, lq: torch.Tensor, seeds: list[int]) -> torch.Tensor:
        self.made += len(seeds)
        noise = [torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(s)) for s in seeds]
        return torch.stack(noise)


@pytest.fixture
def pairs(training_set: Path) -> object:
    return batches.dataset(training_set, DataSettings(size=64, cache=""), 0, split="train")


def make(folder: Path, pairs: object, count: int, key: dict = KEY) -> tuple[int, latents.Latents]:
    """Samples made, and the samples."""
    sample = Sampler()
    latents.begin(folder, key)
    latents.make(folder, pairs, count, sample, 0, torch.device("cpu"))
    return sample.made, latents.Latents(folder, count)


def test_a_shard_is_no_longer_than_what_is_drawn(pairs: object, tmp_path: Path) -> None:
    for count in (1, 5, 40):
        made, found = make(tmp_path / str(count), pairs, count)
        assert made == len(found) == count
    sizes = [len(load_file(one)["task_id"]) for one in sorted((tmp_path / "40").glob("*.saf*"))]
    assert sizes == [32, 8]


def test_another_count_makes_only_what_is_missing_and_the_same_samples(
    pairs: object, tmp_path: Path
) -> None:
    _, whole = make(tmp_path / "whole", pairs, 70)
    for count, made in ((40, 40), (70, 24 + 8 + 6), (70, 0), (5, 0), (33, 0)):
        asked, found = make(tmp_path / "grown", pairs, count)
        assert (asked, len(found)) == (made, count)
        for row in range(count):
            ours, theirs = found[Draw(row, 0, 0)], whole[Draw(row, 0, 0)]
            assert ours.keys() == theirs.keys() == set(batches.KEPT)
            assert all(torch.equal(ours[name], theirs[name]) for name in ours), (count, row)


def test_samples_of_other_weights_are_not_kept(pairs: object, tmp_path: Path) -> None:
    make(tmp_path, pairs, 40)
    asked, _ = make(tmp_path, pairs, 3, {"weights": "b"})
    assert asked == 3
    assert [one.name for one in tmp_path.glob("*.safetensors")] == ["000000.safetensors"]


def test_a_damaged_shard_is_named(pairs: object, tmp_path: Path) -> None:
    make(tmp_path, pairs, 3)
    (tmp_path / "000000.safetensors").write_bytes(b"cut off")
    with pytest.raises(CirbenchError, match="000000.safetensors is damaged.*delete it"):
        make(tmp_path, pairs, 3)


@pytest.fixture(scope="module")
def stage_1(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stage") / "run"
    return run.train(request(training_set, folder, (0, 1), settings=micro(1)), say=quiet)


@pytest.mark.parametrize("latents", [0, 70])
def test_stage_2_makes_as_many_latents_as_it_draws(
    training_set: Path, stage_1: Path, tmp_path: Path, latents: int
) -> None:
    changes = {"stages.compensator.latents": latents, "stages.compensator.batch_size": 1}
    for steps in (1, 3):
        chosen = one_stage("compensator", steps, **changes)
        run.train(request(training_set, tmp_path, (2,), settings=chosen, init=stage_1), say=quiet)
        shard = load_file(tmp_path / "latents" / "000000.safetensors")
        assert len(shard["task_id"]) == steps
