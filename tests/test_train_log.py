"""What a run leaves to read, and what a killed one leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("accelerate")
pytest.importorskip("tensorboard")

from small_run import equal, last, one_stage, quiet, request  # noqa: E402

from cirbench.builder import store  # noqa: E402
from cirbench.errors import CirbenchError  # noqa: E402
from cirbench.train import record, run  # noqa: E402


class Killed(BaseException):
    """The end of a process, as seen from inside."""


def rows(folder: Path) -> list[dict]:
    lines = (folder / record.LOG).read_text(encoding="utf-8").splitlines()
    return [json.loads(one) for one in lines]


def shown(folder: Path, stage: str) -> list[int]:
    """Steps of the loss that TensorBoard would draw."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard" / stage))
    return [one.step for one in events.Reload().Scalars(f"{stage}/loss")]


def test_a_killed_run_that_is_resumed_has_every_step_once(
    training_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = one_stage("prior", 6, checkpoint_every=4)
    straight = run.train(
        request(training_set, tmp_path / "straight", (0,), settings=chosen), say=quiet
    )
    killed = tmp_path / "killed"
    add = record.Record.add

    def dies(self: record.Record, step: int, *rest: object) -> None:
        add(self, step, *rest)
        if step == 5:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(record.Record, "add", dies)
        run.train(request(training_set, killed, (0,), settings=chosen), say=quiet)
    assert [one["step"] for one in rows(killed)] == [1, 2, 3, 4, 5]
    assert last(killed, "prior").name == "step-0000004"
    # Besides: another stage's lines, a line cut off, and a checkpoint half-written.
    other = '{"stage": "vae", "step": 9, "loss": 1.0}\n'
    with open(killed / record.LOG, "a", encoding="utf-8") as log:
        log.write(other + '{"stage": "prior", "st')
    (killed / "prior" / "step-0000005.part").mkdir()

    resumed = run.train(request(training_set, killed, (0,), settings=chosen), say=quiet)
    found = rows(killed)
    assert found[4] == json.loads(other)
    mine = [one for one in found if one["stage"] == "prior"]
    assert [one["step"] for one in mine] == shown(killed, "prior") == [1, 2, 3, 4, 5, 6]
    assert [one["loss"] for one in mine] == [one["loss"] for one in rows(tmp_path / "straight")]
    assert equal(straight, resumed)
    assert not list(killed.rglob("*.part"))


def test_every_event_file_has_a_second_of_its_own(tmp_path: Path) -> None:
    # TensorBoard reads files by name: a second, then a count in which "10" sorts before "9".
    for stop in (2, 3, 4):
        one = record.Record(tmp_path, "prior", stop - 2, stop, images=1, every=1)
        one.add(stop - 1, {"loss": 1.0}, rate=0.1)
        one.add(stop, {"loss": 1.0}, rate=0.1)
        one.close()
    names = [path.name for path in (tmp_path / "tensorboard" / "prior").iterdir()]
    assert len({name.split(".")[3] for name in names}) == len(names) == 3
    assert shown(tmp_path, "prior") == [1, 2, 3, 4]


def test_a_run_is_trained_by_one_command_at_a_time(training_set: Path, tmp_path: Path) -> None:
    one = request(training_set, tmp_path / "run", (0,), settings=one_stage("prior", 1))
    with store.lock(tmp_path / "run"), pytest.raises(CirbenchError, match="another cirbench"):
        run.train(one, say=quiet)
    assert not (tmp_path / "run" / "settings.json").exists()
