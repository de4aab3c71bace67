"""router.parquet and router.png of cirbench eval: which prompts each task uses."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("matplotlib")

import cirbench  # noqa: E402
from cirbench.evaluation import router_map  # noqa: E402
from cirbench.manifest import Manifest  # noqa: E402
from cirbench.models.moe_diffir import checkpoint, presets, restorer  # noqa: E402
from cirbench.models.moe_diffir.config import from_dict  # noqa: E402
from cirbench.models.moe_diffir.model import MoEDiffIR  # noqa: E402


@pytest.fixture(scope="module")
def data(_originals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small photos; JPEG of three kinds of levels and WebP."""
    out = tmp_path_factory.mktemp("data") / "tiny"
    cirbench.build(_originals, codec=["jpeg", "webp"], quality=[5, 10, 25], out=out, jobs=2)
    return out


def save(folder: Path, seed: int = 0, **changes) -> Path:
    """A micro model whose router, which starts at zero, decides something."""
    torch.manual_seed(seed)
    model = MoEDiffIR(from_dict(changes, presets.micro()))
    for scale in model.prompt_module.scales:
        if scale.router is not None:
            torch.nn.init.normal_(scale.router.gate.weight)
    checkpoint.save(model, folder)
    return folder


def evaluate(data: Path, out: Path, model: Path, **given):
    given = {"metrics": "psnr", "jobs": 2, "report": False} | given
    return cirbench.evaluate(data, model="moe_diffir", checkpoint=model, out=out, **given)


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of an evaluation, and its checkpoint."""
    folder = tmp_path_factory.mktemp("eval")
    model = save(folder / "model")
    evaluate(data, folder / "out", model, report=True)
    return folder / "out", model


def test_shares_are_the_means_of_the_models_own_loads(data: Path, done: tuple[Path, Path]) -> None:
    out, model = done
    table = pq.read_table(out / "router.parquet").to_pylist()
    made = restorer.create(model, "cpu")
    manifest = Manifest.open(data)
    rows = [row for row in manifest if row["task"] == "jpeg-qf10"]
    expected = [[], []]
    for row in rows:
        lq = np.moveaxis(manifest.lq(row), -1, 0)[None].astype(np.float32) / 255
        for scale, one in enumerate(made.loads(lq)):
            expected[scale].append(one[0])
    for scale in (0, 1):
        mine = [r for r in table if (r["task"], r["scale"]) == ("jpeg-qf10", scale)]
        assert [r["prompt"] for r in mine] == list(range(7))
        assert {r["images"] for r in mine} == {len(rows)} == {3}
        shares = [r["share"] for r in mine]
        np.testing.assert_allclose(shares, np.mean(expected[scale], axis=0), atol=1e-6)
        assert len(set(np.round(shares, 3))) > 2


def test_every_task_is_there_and_its_shares_add_up_to_k(done: tuple[Path, Path]) -> None:
    table = pq.read_table(done[0] / "router.parquet")
    assert all((field.metadata or {}).get(b"description") for field in table.schema)
    sums: dict[tuple[str, int], float] = {}
    for row in table.to_pylist():
        key = (row["task"], row["scale"])
        sums[key] = sums.get(key, 0) + row["share"]
        assert 0 <= row["share"] <= 1
    tasks = [f"{codec}-qf{level}" for codec in ("jpeg", "webp") for level in (5, 10, 25)]
    assert list(dict.fromkeys(task for task, _ in sums)) == tasks
    assert list(sums.values()) == pytest.approx([3] * 12)
    kinds = dict(zip(table["task"].to_pylist(), table["kind"].to_pylist(), strict=True))
    assert (kinds["jpeg-qf10"], kinds["jpeg-qf25"]) == ("seen", "cross-degree")


def test_the_picture_is_a_heat_map_of_the_shares(done: tuple[Path, Path]) -> None:
    from cirbench.report import router_plot

    data = (done[0] / "router.png").read_bytes()
    image = Image.open(io.BytesIO(data))
    assert image.format == "PNG" and min(image.size) > 300
    table = pq.read_table(done[0] / "router.parquet")
    assert router_plot.draw(table) == data
    column = table.schema.get_field_index("share")
    other = table.set_column(column, table.schema.field(column), [table["share"].to_numpy()[::-1]])
    assert router_plot.draw(other) != data
    page = (done[0] / "report.html").read_text()
    assert 'id="router"' in page and "data:image/png;base64," in page


def test_nothing_is_computed_again_until_the_model_changes(
    data: Path, done: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out, model = done
    before = (out / "router.parquet").read_bytes()
    calls = []
    real = restorer.Restorer.loads
    monkeypatch.setattr(
        restorer.Restorer, "loads", lambda self, lq: (calls.append(1), real(self, lq))[1]
    )
    evaluate(data, out, model)
    assert not calls and (out / "router.parquet").read_bytes() == before
    (out / "router.png").unlink()
    evaluate(data, out, model)
    assert not calls and (out / "router.png").exists()
    evaluate(data, out, save(tmp_path / "other", seed=5))
    assert len(calls) == 18 and (out / "router.parquet").read_bytes() != before
    calls.clear()
    evaluate(data, out, model)
    assert (out / "router.parquet").read_bytes() == before


def test_models_without_a_router_have_no_map_and_leave_none(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    where = {"task": "jpeg-qf10"}
    evaluate(data, out, save(tmp_path / "moe"), where=where)
    assert router_map.files(out) == [out / "router.parquet", out / "router.png"]
    plain = save(tmp_path / "none", prompt="none")
    assert evaluate(data, out, plain, where=where, report=True).router == b""
    assert router_map.files(out) == [] and 'id="router"' not in (out / "report.html").read_text()
    cirbench.evaluate(data, model="identity", out=tmp_path / "id", metrics="psnr", report=False)
    assert router_map.files(tmp_path / "id") == []


def test_without_matplotlib_the_numbers_are_there_and_the_picture_is_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router_map, "find_spec", lambda name: None)
    out = tmp_path / "out"
    results = evaluate(data, out, save(tmp_path / "moe"), where={"task": "jpeg-qf10"})
    assert router_map.files(out) == [out / "router.parquet"]
    assert any("pip install matplotlib" in problem for problem in results.problems)


def test_the_same_photos_are_chosen_for_every_task_and_the_middle_is_shown(data: Path) -> None:
    rows = list(Manifest.open(data))
    picked = router_map.choose(rows, 2)
    photos: dict[str, set[str]] = {}
    for row in picked:
        photos.setdefault(row["task"], set()).add(row["hq_path"])
    assert len(picked) == 12 and len({frozenset(names) for names in photos.values()}) == 1
    again = router_map.choose(rows[::-1], 2)
    assert {row["row_id"] for row in again} == {row["row_id"] for row in picked}
    image = np.arange(5 * 9 * 3, dtype=np.uint8).reshape(5, 9, 3)
    assert np.array_equal(router_map.middle(image, 3), image[1:4, 3:6])
    assert np.array_equal(router_map.middle(image, 7), image[:, 1:8])
