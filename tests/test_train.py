"""Training: the same run however it is cut up, what is frozen, losses, checkpoints, messages."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("accelerate")
pytest.importorskip("tensorboard")

from small_run import NAMES, equal, last, micro, one_stage, request, weights  # noqa: E402

import cirbench  # noqa: E402
from cirbench.cli import main  # noqa: E402
from cirbench.errors import CirbenchError  # noqa: E402
from cirbench.train import batches, loop, run, state  # noqa: E402
from cirbench.train.settings import DataSettings  # noqa: E402


@pytest.fixture(scope="module")
def data(training_set: Path) -> Path:
    return training_set


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run through all stages."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run.train(request(data, folder), say=lambda line: None)
    return folder


def test_a_run_leaves_checkpoints_pictures_and_a_log(whole: Path) -> None:
    from cirbench.evaluation.checkpoints import newest_checkpoint

    lines = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert [(one["stage"], one["step"]) for one in lines] == [(n, s) for n in NAMES for s in (1, 2)]
    assert all(np.isfinite(one["loss"]) for one in lines)
    grids = {path.name.split("-")[0] for path in (whole / "grids").glob("*.png")}
    assert grids == {"vae", "unet", "prompt", "compensator"}
    boards = {path.parent.name for path in (whole / "tensorboard").glob("*/events*")}
    assert boards == set(NAMES)
    assert not list(whole.rglob("*.part"))
    found = newest_checkpoint(whole.parent)
    assert found is not None and found.path == last(whole, "compensator")


def test_only_the_parts_of_a_stage_change(whole: Path) -> None:
    parts = {
        "unet": {"unet", "null_context", "visual", "v2t", "latent_scale"},
        "prior": {"prior"},
        "prompt": {"prompt_module", "spade", "enhancer", "v2t"},
        "compensator": {"compensator"},
    }
    before = weights(last(whole, "vae"))
    for stage, trained in parts.items():
        after = weights(last(whole, stage))
        changed = {key.split(".")[0] for key in after if not torch.equal(before[key], after[key])}
        assert changed == trained, stage
        before = after


def test_the_same_seed_gives_the_same_run_and_another_does_not(data: Path, tmp_path: Path) -> None:
    folders = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        folder = tmp_path / name
        one = request(data, folder, (0,), settings=micro(seed=seed))
        folders.append(run.train(one, say=lambda line: None))
    assert equal(folders[0], folders[1])
    assert not equal(folders[0], folders[2])


@pytest.mark.parametrize("stage", ["vae", "prompt", "compensator"])
def test_an_interrupted_run_ends_with_the_same_weights(
    data: Path, whole: Path, tmp_path: Path, stage: str
) -> None:
    number = {"vae": 0, "prompt": 1, "compensator": 2}[stage]
    start = last(whole, {"vae": "vae", "prompt": "prior", "compensator": "prompt"}[stage])
    only = one_stage(stage, 20, **{f"stages.{stage}.{key}": one for key, one in EXTRAS.items()})
    made = []
    for name, stop in (("straight", None), ("halves", (stage, 10))):
        one = request(data, tmp_path / name, (number,), settings=only, init=start)
        if stop:
            with pytest.raises(loop.Interrupted) as caught:
                run.train(one, say=lambda line: None, stop_at=stop)
            assert caught.value.folder == last(tmp_path / name, stage)
            assert caught.value.folder.name == "step-0000010"
        made.append(run.train(one, say=lambda line: None))
    assert equal(*made)


EXTRAS = {"optimizer": "muon", "ema": 0.9, "warmup": 3, "decay": 0.5, "clip": 1.0}


def test_pieces_of_a_batch_give_the_step_of_the_whole(data: Path, tmp_path: Path) -> None:
    made = []
    for accumulate in (1, 2):
        only = one_stage("vae", 1, **{"stages.vae.accumulate": accumulate})
        one = request(data, tmp_path / str(accumulate), (0,), settings=only)
        made.append(weights(run.train(one, say=lambda line: None)))
    close(*made)


def close(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], rtol=1e-3, atol=2e-5, msg=key)


def prompts_only(data: Path, folder: Path) -> run.Request:
    """Stage I without the router's noise, which each process draws for itself."""
    only = one_stage("prompt", **{"stages.prompt.optimizer": "muon", "model.prompt": "multiple"})
    return request(data, folder, (1,), settings=only)


PROCESS = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[3])
import test_train
test_train.run.train(test_train.prompts_only(Path(sys.argv[1]), Path(sys.argv[2])), say=str)
"""


def test_two_processes_take_the_steps_of_one(data: Path, tmp_path: Path) -> None:
    one = weights(run.train(prompts_only(data, tmp_path / "one"), say=lambda line: None))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
    arguments = [str(data), str(tmp_path / "two"), str(Path(__file__).parent)]
    started = []
    for rank in ("0", "1"):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", **address}
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", PROCESS, *arguments],
                env={**os.environ, **place},
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    for process in started:
        _, complaints = process.communicate(timeout=300)
        assert process.returncode == 0, complaints[-3000:]
    close(one, weights(last(tmp_path / "two", "prompt")))


def test_a_batch_holds_the_task_ids_of_its_pairs(data: Path) -> None:
    pairs = batches.dataset(data, DataSettings(size=64, cache=""), 0, split="train")
    steps = batches.Steps(pairs.tasks, 0, 4, 1, 0, 1, 0, 3)
    loader = batches.loader(pairs, steps, DataSettings(workers=2), torch.device("cpu"))
    number = dict(zip(pairs.tasks, map(task_id, pairs), strict=True))
    for draws, batch in zip(steps, loader, strict=True):
        assert batch["task_id"].tolist() == [number[pairs.tasks[draw.row]] for draw in draws]
        assert all((batch["lq"][i] == pairs[draw]["lq"]).all() for i, draw in enumerate(draws))
    assert len(set(number.values())) == 4


def task_id(item: dict[str, object]) -> object:
    return item["task_id"]


def test_a_loss_that_is_no_number_stops_and_names_the_last_good_checkpoint(
    data: Path, tmp_path: Path
) -> None:
    only = one_stage("vae", 6, **{"stages.vae.lr": 1e30})
    with pytest.raises(CirbenchError, match="not a number.*stage vae.*stages.vae.lr"):
        run.train(request(data, tmp_path / "x", (0,), settings=only), say=lambda line: None)
    for saved in state.found(tmp_path / "x", "vae"):
        assert all(torch.isfinite(one).all() for one in weights(saved.folder).values())


def test_a_stage_without_the_one_before_says_which(data: Path, tmp_path: Path) -> None:
    with pytest.raises(CirbenchError, match="goes on from stage 0"):
        run.train(request(data, tmp_path / "x", (2,)), say=lambda line: None)


def test_an_ablation_starts_from_the_prior_of_another_model(
    data: Path, whole: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    start = last(whole, "compensator")
    one = request(data, tmp_path / "x", (1,), settings=micro(1, **{"model.experts": 5}), init=start)
    made = weights(run.train(one, say=lines.append))
    assert any("new: prompt_module" in line for line in lines)
    before = weights(start)
    assert all(torch.equal(made[k], before[k]) for k in made if k.startswith(("unet.", "vae.")))
    wider = micro(1, **{"model.unet.block_out_channels": [8, 32]})
    with pytest.raises(CirbenchError, match="unet"):
        run.train(request(data, tmp_path / "y", (1,), settings=wider, init=start), say=str)


def test_a_run_is_not_gone_on_with_on_other_rows(data: Path, whole: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(whole, tmp_path / "copy")
    other = tmp_path / "data"
    cirbench.build(data.parent / "hq", codec="jpeg", quality=[5], out=other, split="train")
    with pytest.raises(CirbenchError, match="other training rows"):
        run.train(request(other, tmp_path / "copy"), say=lambda line: None)


def test_the_command_trains_and_goes_on(data: Path, tmp_path: Path, monkeypatch) -> None:
    from click.testing import CliRunner

    preset = tmp_path / "mine.toml"
    preset.write_text(
        'size = "micro"\nlog_every = 1\n[data]\nsize = 64\nworkers = 0\ncache = ""\n'
        "[stages.prior]\nbatch_size = 4\n"
    )
    monkeypatch.chdir(tmp_path)
    command = ["train", "--data", str(data), "--preset", str(preset), "--steps", "1"]
    done = CliRunner().invoke(main, [*command, "--set", "model.top_k=2"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "runs/mine-1/prior/step-0000001/model.safetensors").is_file()
    more = CliRunner().invoke(main, ["train", "--resume", "--steps", "2"])
    assert more.exit_code == 0, more.output
    assert (tmp_path / "runs/mine-1/prior/step-0000002/model.safetensors").is_file()
    again = CliRunner().invoke(main, [*command, "--out", "runs/mine-1"])
    assert again.exit_code == 1
    assert "--resume" in again.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "tini"], "did you mean tiny"),
        (["--preset", "tiny", "--set", "model.promt=moe"], "did you mean prompt"),
        (["--preset", "tiny", "--set", "stages.vae.stepz=3"], "steps"),
        (["--preset", "tiny", "--set", "stages.wae.steps=3"], "vae"),
        (["--preset", "tiny", "--set", "nothing"], "key=value"),
        (["--preset", "tiny", "--data", "nowhere"], "nowhere"),
        (["--preset", "paper", "--stage", "0"], "no such stage"),
        (["--preset", "paper", "--stage", "1"], "stable_diffusion"),
        (["--preset", "paper", "--stage", "2"], "LPIPS"),
    ],
)
def test_wrong_options_get_one_sentence(
    options: list[str], message: str, data: Path, tmp_path: Path, monkeypatch
) -> None:
    from click.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIRBENCH_WEIGHTS", str(tmp_path))
    given = options if "--data" in options else [*options, "--data", str(data)]
    more = ("--device", "cpu", "--precision", "no", "--set", "data.size=64")
    done = CliRunner().invoke(main, ["train", *given, *more])
    assert done.exit_code == 1
    line = done.output.strip().splitlines()[-1]
    assert line.startswith("cirbench: ") and message in line
