"""Rows on processes, Dask and Ray: the same bytes, whatever becomes of the workers."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cirbench
from cirbench import Manifest, backends, codecs
from cirbench.backends import attempts, workers
from cirbench.builder import remote
from cirbench.cli import main
from cirbench.errors import CirbenchError, UnavailableError
from cirbench.verify import verify

WANTED = {"codec": ["jpeg", "webp", "avc"], "quality": [5, 15], "qp": [42]}
TRAP = """
import os, signal
from pathlib import Path

import cirbench.codecs.jpeg, cirbench.codecs.webp, cirbench.sources

folder = Path(os.environ["TRAP"])
read, jpeg, webp = cirbench.sources.read, cirbench.codecs.jpeg.encode, cirbench.codecs.webp.encode


def note(name):
    with (folder / name).open("a") as file:
        file.write(f"{os.getppid()}\\n")


def die():
    note("kills")
    os.kill(os.getpid(), signal.SIGKILL)


def trapped_read(file):
    if file.name == "coffee.png" and (folder / "photo").exists():
        die()
    return read(file)


def trapped_webp(rgb, level, settings):
    if level == 15 and rgb.shape[0] == 49:
        if (folder / "always").exists():
            die()
        if (folder / "once").exists():
            (folder / "once").unlink()
            die()
    return webp(rgb, level, settings)


def noted_jpeg(rgb, level, settings):
    note("jpeg")
    return jpeg(rgb, level, settings)


cirbench.sources.read = trapped_read
cirbench.codecs.jpeg.encode = noted_jpeg
cirbench.codecs.webp.encode = trapped_webp
"""


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder: a file "once", "always" or "photo" in it lets workers die, "kills" counts them."""
    folder, site = tmp_path_factory.mktemp("trap"), tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(TRAP)  # for the workers: they are other processes
    ours = {"PYTHONPATH": str(site), "TRAP": str(folder)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ours.items():
            patch.setenv(name, value)
        yield folder


@pytest.fixture
def loky(trap: Path) -> dict[str, str]:
    return {"backend": "loky"}


@pytest.fixture(scope="module")
def dask(trap: Path) -> Iterator[dict[str, str]]:
    """Two worker processes; one of them offers BIG."""
    distributed = pytest.importorskip("distributed", reason="needs cirbench[dask]")
    local = {"threads_per_worker": 1, "dashboard_address": None}
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(distributed.LocalCluster(n_workers=1, **local))
        address = cluster.scheduler_address
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
        second = subprocess.Popen(
            [*command, "--resources", "BIG=1", "--no-dashboard"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(second.wait, 30)
        stack.callback(second.terminate)
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield {"backend": "dask", "scheduler": address}


@pytest.fixture(scope="module")
def ray(trap: Path) -> Iterator[dict[str, str]]:
    """Two nodes of one CPU; one of them has BIG."""
    pytest.importorskip("ray", reason="needs cirbench[ray]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        cluster.add_node(num_cpus=1, resources={"BIG": 1})
        cluster.wait_for_nodes()
        yield {"backend": "ray", "scheduler": cluster.address}
        cluster.shutdown()


@pytest.fixture(params=["loky", "dask", "ray"])
def where(request: pytest.FixtureRequest, trap: Path) -> Iterator[dict[str, str]]:
    """How to build there; no trap is set."""
    yield request.getfixturevalue(request.param)
    for file in trap.iterdir():
        file.unlink()


@pytest.fixture(scope="module")
def pictures(_originals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos and a file that is none."""
    folder = tmp_path_factory.mktemp("pictures") / "photos"
    folder.mkdir()
    for file in _originals.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "text.png").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def straight(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by threads of this process."""
    out = tmp_path_factory.mktemp("straight")
    cirbench.build(pictures, out=out / "data", **WANTED)
    return out


def score(out: Path, **backend: str) -> list[dict[str, object]]:
    results = cirbench.evaluate(
        out / "data", model="deblock", metrics=["psnr", "ssim"], out=out / "eval", **backend
    )
    assert not results.missing
    return results.scores.to_pylist()


def manifest(out: Path) -> bytes:
    return (out / "data" / "manifest.parquet").read_bytes()


def test_build_verify_and_eval_give_the_bytes_of_one_process(
    where, pictures, straight, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # relative paths have to mean the same to workers
    here = Path(".")
    result = cirbench.build(pictures, out=here / "data", hq="link", **WANTED, **where)
    assert (result.made, result.failed) == (15, 1)
    assert manifest(here) == manifest(straight)
    chosen = backends.Backend(where["backend"], where.get("scheduler", ""))
    assert verify(here / "data", decode=True, backend=chosen).problems == []
    assert score(here, **where) == score(straight)
    assert not list(tmp_path.rglob(".tmp"))
    again = cirbench.build(pictures, out=here / "data", **WANTED, **where)
    assert (again.made, again.skipped) == (0, 15)


def test_a_row_whose_worker_is_killed_is_made_by_another(where, trap, pictures, straight, tmp_path):
    (trap / "once").touch()
    result = cirbench.build(pictures, out=tmp_path / "data", **WANTED, **where)
    assert (result.made, result.failed, kills(trap)) == (15, 1, 1)
    assert manifest(tmp_path) == manifest(straight)


def test_a_row_that_kills_three_workers_becomes_an_error_row(
    where, trap, pictures, straight, tmp_path
):
    (trap / "always").touch()
    result = cirbench.build(pictures, out=tmp_path / "data", **WANTED, **where)
    assert (result.made, result.failed, kills(trap)) == (14, 2, 3)
    failed = Manifest.open(tmp_path / "data").filter(status="error", codec="webp")
    (row,) = failed
    assert (row["hq_path"], row["level"]) == ("coffee.png", "qf15")
    assert row["error"] == f"webp: {attempts.LOST}"
    (trap / "always").unlink()
    assert cirbench.build(pictures, out=tmp_path / "data", **WANTED, **where).made == 1
    assert manifest(tmp_path) == manifest(straight)


def kills(trap: Path) -> int:
    return len((trap / "kills").read_text().split())


def test_a_photo_that_kills_its_readers_becomes_one_error_row(loky, trap, pictures, tmp_path):
    (trap / "photo").touch()
    result = cirbench.build(pictures, out=tmp_path / "data", **WANTED, **loky)
    (trap / "photo").unlink()
    assert (result.made, result.failed) == (10, 2)
    rows = {row["hq_path"]: row for row in Manifest.open(tmp_path / "data").filter(status="error")}
    assert rows["coffee.png"]["task"] is None
    assert attempts.LOST in rows["coffee.png"]["error"]


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_rows_run_where_the_resources_are(name, trap, pictures, straight, tmp_path, request):
    there = request.getfixturevalue(name)
    (trap / "jpeg").unlink(missing_ok=True)
    big = {"jpeg": {"BIG": 1}}
    cirbench.build(pictures, out=tmp_path / "data", **WANTED, **there, resources=big)
    parents = (trap / "jpeg").read_text().split()
    assert len(parents) == 6 and len(set(parents)) == 1
    assert manifest(tmp_path) == manifest(straight)
    with pytest.raises(CirbenchError, match="BIG=2"):
        cirbench.build(
            pictures, out=tmp_path / "b", **WANTED, **there, resources={"jpeg": {"BIG": 2}}
        )


@pytest.mark.parametrize(
    ("backend", "scheduler", "sentence"),
    [
        ("dask", "tcp://127.0.0.1:9", "no Dask scheduler answers at tcp://127.0.0.1:9"),
        ("dask", "head", "'head' is not HOST:PORT, as in tcp://head:8786"),
        ("dask", "none.json", "there is no scheduler file none.json"),
        ("dask", "", "needs the address of a scheduler"),
        ("ray", "127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9"),
        ("ray", "ray://127.0.0.1:9", "run cirbench on a node of the cluster"),
        ("loky", "tcp://127.0.0.1:9", "use --backend dask or --backend ray"),
        ("slurm", "", "it is one of threading, loky, dask, ray"),
    ],
)
def test_an_address_without_an_answer_is_one_sentence(
    backend, scheduler, sentence, pictures, tmp_path
):
    if backend in ("dask", "ray"):
        pytest.importorskip({"dask": "distributed"}.get(backend, backend), reason="not installed")
    with pytest.raises(CirbenchError, match=sentence):
        cirbench.build(pictures, out=tmp_path / "out", backend=backend, scheduler=scheduler)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("backend", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_missing_package_is_named(backend, package, pictures, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"cirbench.backends.{backend}_backend", raising=False)
    monkeypatch.delattr(backends, f"{backend}_backend", raising=False)
    with pytest.raises(UnavailableError, match=rf"pip install 'cirbench\[{backend}\]'"):
        cirbench.build(pictures, out=tmp_path / "out", backend=backend, scheduler="localhost:1")


def test_resources_are_read_and_checked():
    given = backends.parse_resources(["hific=GPU:1,MEMORY:8e9", "vvc=MEMORY:2e9"])
    assert given == {"hific": {"GPU": 1, "MEMORY": 8e9}, "vvc": {"MEMORY": 2e9}}
    chosen = backends.Backend("dask", "head:8786", given)
    assert list(chosen.groups(["jpeg", "vvc", "webp", "hific"]).values()) == [
        {"vvc"},
        {"hific"},
        {"jpeg", "webp"},
    ]
    for wrong in ("hific", "hific=GPU", "hific=GPU:x", "=GPU:1", "hific=:1"):
        with pytest.raises(CirbenchError, match="CODEC=NAME:AMOUNT"):
            backends.parse_resources([wrong])
    with pytest.raises(CirbenchError, match="GPU cannot be 0"):
        backends.Backend("ray", "", {"hific": {"GPU": 0}})
    with pytest.raises(CirbenchError, match="'h265' is no codec here"):
        backends.Backend("ray", "", {"h265": {"GPU": 1}}).check_resources(codecs.names(), "codec")


def test_the_recipes_for_slurm_and_kubernetes_are_well_formed():
    text = (Path(__file__).parent.parent / "docs" / "cluster.md").read_text()
    (script,) = re.findall(r"```bash\n(.*?)```", text, re.S)
    inner = script.split("bash -c '")[1].split("'")[0]
    for code in (script, inner):
        subprocess.run(["bash", "-n"], input=code, text=True, check=True)
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    (manifests,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    found = list(yaml.safe_load_all(manifests))
    assert [one["kind"] for one in found] == ["Service", "Deployment", "Deployment", "Job"]
    commands = [shlex.split(line) for line in re.findall(r"^ *cirbench (.*[^\\])$", text, re.M)]
    commands.append(found[-1]["spec"]["template"]["spec"]["containers"][0]["command"][1:])
    for name, *given in commands:
        known = {option for one in main.commands[name].params for option in one.opts}
        assert known >= {word for word in given if word.startswith("--")}, (name, given)


def test_notes_count_workers_that_did_not_come_back(tmp_path):
    steps = [lambda turn=turn: turn for turn in range(4)]
    assert attempts.run(tmp_path, "row", steps) == 0 and not list(tmp_path.iterdir())
    for lost in range(1, 6):
        (tmp_path / f"{attempts.name('row')}.{lost - 1}").touch()
        assert attempts.begun(tmp_path, "row")
        before = sorted(tmp_path.iterdir())
        assert attempts.run(tmp_path, "row", steps) == min(lost, 3)
        assert not attempts.begun(tmp_path, "row")  # it was settled
        for file in before:
            file.touch()
    with pytest.raises(ZeroDivisionError):
        attempts.run(tmp_path, "other", [lambda: 1 // 0] * 4)
    assert not attempts.begun(tmp_path, "other")  # an exception is no lost worker


def test_a_worker_that_sees_other_folders_or_versions_says_so(tmp_path):
    setting = workers._Setting("0.0", (), tmp_path)
    with pytest.raises(CirbenchError, match=r"has cirbench .*, this machine 0\.0; install the"):
        setting.apply()
    with pytest.raises(CirbenchError, match="does not see .*gone; the data set and its sources"):
        workers._Setting(cirbench.__version__, (), tmp_path / "gone").apply()
    jpeg = codecs.get("jpeg")
    settings = jpeg.settings()
    probe = jpeg.probe(settings)
    remote._check_versions("jpeg", tuple(settings.items()), (probe.version, probe.decoder))
    with pytest.raises(CirbenchError, match=r"this machine libjpeg 6b and .*install the same"):
        remote._check_versions("jpeg", tuple(settings.items()), ("libjpeg 6b", probe.decoder))


def test_workers_that_never_last_end_the_build_with_a_sentence(loky, tmp_path):
    def end(notes: Path) -> None:
        os._exit(1)

    with (
        workers.opened(backends.Backend("loky"), 2, tmp_path) as crew,
        pytest.raises(CirbenchError, match="workers were lost 5 times in a row"),
    ):
        list(crew.results([workers.Call(end, (), ())]))
