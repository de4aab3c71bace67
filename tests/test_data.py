"""The torch-free half of the training data: pairs, transforms, partial decoding, sampler."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from conftest import crop
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import cirbench
from cirbench import sources
from cirbench.data import transforms
from cirbench.data.rows import top_rows
from cirbench.data.sampler import TaskSampler
from cirbench.data.transforms import Transform
from cirbench.errors import CirbenchError

TASKS = ["a"] * 7 + ["b"] * 2 + ["c"] * 12


@pytest.fixture(scope="module")
def data(_originals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos as JPEG at two levels and as WebP, nine rows."""
    out = tmp_path_factory.mktemp("data") / "set"
    cirbench.build(_originals, codec="jpeg", quality=[10, 30], out=out, split="train", jobs=1)
    cirbench.build(_originals, codec="webp", quality=10, out=out, split="train", jobs=1)
    return out


def test_pairs_are_the_manifests_pixels(data: Path) -> None:
    pairs = list(cirbench.Pairs(data))
    manifest = cirbench.Manifest.open(data)
    assert {pair.row["row_id"] for pair in pairs} == {row["row_id"] for row in manifest}
    for row, hq, lq in pairs:
        assert np.array_equal(hq, manifest.hq(row)) and np.array_equal(lq, manifest.lq(row))


def test_pairs_decode_a_photo_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, files = sources.read, []
    monkeypatch.setattr(sources, "read", lambda file: files.append(file) or read(file))
    assert len(list(cirbench.Pairs(data))) == 9
    assert len(files) == len(set(files)) == 3


def test_shared_hq_cannot_be_written_to(data: Path) -> None:
    _, hq, lq = next(iter(cirbench.Pairs(data)))
    with pytest.raises(ValueError, match="read-only"):
        hq[0, 0] = 0
    lq[0, 0] = 0


def test_pairs_filter_by_column(data: Path) -> None:
    for wanted, number in (
        ({"codec": "webp"}, 3),
        ({"level": ["qf10"]}, 6),
        ({"task": ["jpeg-qf10", "jpeg-qf30"]}, 6),
        ({"set": "nowhere", "codec": "jpeg"}, 0),
        ({"split": "train", "kind": "seen", "codec": "jpeg", "level": "qf10"}, 3),
        ({"split": "test"}, 0),
    ):
        if number:
            pairs = cirbench.Pairs(data, **wanted)
            assert len(pairs) == len(list(pairs)) == number
        else:
            with pytest.raises(CirbenchError, match=r"no usable row with .*="):
                cirbench.Pairs(data, **wanted)
    with pytest.raises(CirbenchError, match="no column 'kodec'"):
        cirbench.Pairs(data, kodec="jpeg")


def test_pairs_need_no_torch(data: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "import cirbench\n"
        f"pairs = cirbench.Pairs({str(data)!r})\n"
        "rows = [row['task'] for row, hq, lq in pairs]\n"
        "print(len([draw.row for draw in cirbench.TaskSampler(rows)]))\n"
        "try: cirbench.CIRDataset\n"
        "except cirbench.CirbenchError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == "9", done.stderr
    assert "pip install" in done.stdout


@given(
    number=st.integers(0, transforms.TURNS - 1), height=st.integers(1, 5), width=st.integers(1, 5)
)
def test_turns_are_flips_and_quarter_turns(number: int, height: int, width: int) -> None:
    hq = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    lq = 255 - hq
    turned = transforms.turn(hq, number)
    expected = [np.rot90(side, k) for k in range(4) for side in (hq, np.fliplr(hq))]
    assert any(np.array_equal(turned, one) for one in expected)
    assert np.array_equal(transforms.turn(lq, number), 255 - turned)


def test_turns_are_eight_different_ones(photo: np.ndarray) -> None:
    assert len({transforms.turn(photo, number).tobytes() for number in range(8)}) == 8


@given(seed=st.integers(0, 2**32), height=st.integers(5, 40), width=st.integers(5, 40))
def test_crops_lie_inside(seed: int, height: int, width: int) -> None:
    box, _ = Transform("crop", 5).draw(transforms.generator(seed, 0, 0), height, width)
    assert box is not None
    picture = np.zeros((height, width, 3), np.uint8)
    assert transforms.cut(picture, box).shape == (5, 5, 3) and min(box) >= 0


def test_crops_reach_every_place() -> None:
    rng = np.random.default_rng(0)
    places = {transforms.crop_box(rng, 6, 5, 4)[:2] for _ in range(200)}
    assert places == {(y, x) for y in range(3) for x in range(2)}


def test_resize_keeps_the_middle_and_the_proportions(photo: np.ndarray) -> None:
    height, width = photo.shape[:2]  # 96 x 128
    left = (width - height) // 2
    square = Image.fromarray(photo[:, left : left + height])
    expected = np.asarray(square.resize((32, 32), Image.Resampling.BICUBIC))
    ours = transforms.resize(photo, 32)
    # The filter of ours also sees the pixels beside the square.
    assert ours.shape == (32, 32, 3) and np.array_equal(ours[:, 2:-2], expected[:, 2:-2])


def test_wrong_transforms_are_refused() -> None:
    with pytest.raises(CirbenchError, match="one of crop, resize, none"):
        Transform("scale")
    with pytest.raises(CirbenchError, match="at least 1"):
        Transform("crop", 0)


def coded(kind: str, rgb: np.ndarray) -> bytes:
    """``rgb`` in one of the formats whose rows can be decoded from the top."""
    buffer = BytesIO()
    if kind.startswith("png"):
        Image.fromarray(rgb).save(buffer, "png")
    elif kind.startswith("jpeg"):
        Image.fromarray(rgb).save(buffer, "jpeg", quality=20, subsampling=kind[4:])
    else:
        Image.fromarray(rgb).save(buffer, "webp", quality=int(kind[4:]))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def large() -> np.ndarray:
    return crop("astronaut.png", (301, 170))


@pytest.mark.parametrize("kind", ["png", "jpeg4:2:0", "jpeg4:4:4", "webp1", "webp20", "webp90"])
def test_top_rows_are_those_of_the_whole_picture(
    kind: str, large: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    data = coded(kind, large)
    whole = np.asarray(Image.open(BytesIO(data)))
    for rows in range(1, 262, 4):
        top = top_rows(data, rows)
        assert top is not None and np.array_equal(top, whole[:rows]), rows
    assert top_rows(data, len(whole)) is None
    assert capfd.readouterr().err == ""


def test_top_rows_leave_other_files_alone(large: np.ndarray) -> None:
    image = Image.fromarray(large)
    sixteen = imagecodecs.png_encode(large.astype(np.uint16))
    others = [sixteen, coded("png", large)[:5000], b"", b"\xff\xd8\xff\xe0", b"RIFF1234WEBPVP8 "]
    exif = Image.Exif()
    exif[274] = 6
    for mode, options in (
        ("L", {"format": "png"}),
        ("P", {"format": "png"}),
        ("RGBA", {"format": "png"}),
        ("RGB", {"format": "png", "exif": exif}),
        ("RGB", {"format": "jpeg", "exif": exif}),
        ("RGB", {"format": "jpeg", "progressive": True}),
        ("L", {"format": "jpeg"}),
        ("RGB", {"format": "webp", "lossless": True}),
        ("RGB", {"format": "bmp"}),
    ):
        buffer = BytesIO()
        image.convert(mode).save(buffer, **options)
        others.append(buffer.getvalue())
    assert all(top_rows(data, 200) is None for data in others)


def test_every_task_comes_equally_often() -> None:
    sampler = TaskSampler(TASKS, seed=3)
    draws = list(sampler)
    assert len(draws) == len(sampler) == 21
    assert set(Counter(TASKS[draw.row] for draw in draws).values()) == {7}
    for start in range(0, 21, 3):  # in every block, not just in the whole
        assert {TASKS[draw.row] for draw in draws[start : start + 3]} == {"a", "b", "c"}
    assert len({TASKS[draws[block].row] for block in range(0, 21, 3)}) > 1  # in no fixed order


def test_rows_of_a_task_are_used_up_before_one_repeats() -> None:
    turns: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    samplers = [TaskSampler(TASKS, seed=1, rank=rank, world_size=2) for rank in (0, 1)]
    for _ in range(8):
        epochs = [list(sampler) for sampler in samplers]
        for start in range(0, len(samplers[0]), 3):
            for epoch in epochs:
                for draw in epoch[start : start + 3]:
                    turns[TASKS[draw.row]].append(draw.row)
    for task, rows in turns.items():
        expected = [row for row, name in enumerate(TASKS) if name == task]
        for start in range(0, len(rows) - len(expected), len(expected)):
            assert sorted(rows[start : start + len(expected)]) == expected


def test_ranks_and_epochs_differ_and_runs_repeat() -> None:
    def numbers(rank: int, epoch: int) -> list[tuple[int, ...]]:
        sampler = TaskSampler(TASKS, rank=rank, world_size=2)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert numbers(0, 0) == numbers(0, 0) != numbers(0, 1)
    assert not {d[1:] for d in numbers(0, 0)} & {d[1:] for d in numbers(1, 0)}
    assert len({d[1:] for d in numbers(1, 0)}) == len(numbers(1, 0))


@pytest.mark.parametrize("used", [0, 1, 10, 20, 21])
def test_resume_in_the_middle_equals_no_interruption(used: int) -> None:
    straight = TaskSampler(TASKS, seed=5)
    whole = list(straight) + list(straight) + list(straight)
    first = TaskSampler(TASKS, seed=5)
    ahead = iter(first)
    for _ in range(min(used + 4, 21)):  # a loader's workers fetch ahead
        next(ahead)
    state = json.loads(json.dumps(first.state_dict(used)))
    second = TaskSampler(TASKS, seed=5)
    second.load_state_dict(state)
    second.set_epoch(second.epoch)  # as a training loop does
    rest = [draw for _ in range(3) for draw in second][: len(whole) - used]
    assert rest == whole[used:]


def test_states_of_another_sequence_are_refused() -> None:
    state = TaskSampler(TASKS, seed=5).state_dict(3)
    for other in (TaskSampler(TASKS, seed=6), TaskSampler(TASKS[1:], seed=5)):
        with pytest.raises(CirbenchError, match="the sampler's state has (seed|rows)"):
            other.load_state_dict(state)
    with pytest.raises(CirbenchError, match="rank 2"):
        TaskSampler(TASKS, rank=2, world_size=2)
