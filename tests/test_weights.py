"""Weight files: the list, where they are looked for, and downloads from a local server."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cirbench import weights
from cirbench.codecs import torch_compat
from cirbench.errors import CirbenchError, UnavailableError

CONTENT = bytes(range(256)) * 12_000  # 3 MB: several blocks
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What the local server does, and which Range headers it saw."""

    url: str = ""
    mode: str = "whole"  # whole, cut, ignore-range, missing, page
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.ranges.append(wanted)
            if state.mode == "missing":
                self.send_error(404)
                return
            start = int(wanted[6:-1]) if wanted and state.mode != "ignore-range" else 0
            if start >= len(CONTENT):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                last = len(CONTENT) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(CONTENT)}")
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.send_header("Content-Type", "text/html" if state.mode == "page" else "x/y")
            self.end_headers()
            end = 1_500_000 if state.mode == "cut" else len(CONTENT)
            self.wfile.write(CONTENT[start:end])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        state.url = f"http://127.0.0.1:{http.server_address[1]}/w.pt"
        yield state
        http.shutdown()


@pytest.fixture
def listed(server: Server, monkeypatch: pytest.MonkeyPatch) -> weights.Record:
    """One published record that the local server holds, added to the list."""
    one = replace(weights.record("hific-low"), name="fake", file="w.pt", url=server.url)
    use(monkeypatch, replace(one, codec="fake", sha256=DIGEST[:8]))
    return weights.record("fake")


def published() -> list[weights.Record]:
    return [record for record in weights.records() if record.kind == "published"]


def use(monkeypatch: pytest.MonkeyPatch, *extra: weights.Record) -> None:
    both = (*published(), *extra)
    monkeypatch.setattr(weights, "records", lambda: both)


@pytest.fixture(autouse=True)
def only_our_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CIRBENCH_WEIGHTS", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def test_the_list_covers_the_nine_learned_tasks_and_the_anchor_models() -> None:
    names = [one.name for one in weights.records()]
    assert len(names) == len(set(names))
    assert sum(r.codec in ("c_psnr", "c_ssim", "hific") for r in published()) == 15
    for codec, levels in {"c_psnr": "123", "c_ssim": "123"}.items():
        for model in ("cheng2020-attn", "cheng2020-anchor"):
            found = [r for r in published() if (r.codec, r.model) == (codec, model)]
            assert [r.level for r in found] == [f"q{level}" for level in levels]
            assert all(r.sha256 in r.file and len(r.sha256) == 8 for r in found)
    assert [r.level for r in published() if r.codec == "hific"] == ["low", "med", "high"]
    assert all(r.url.startswith("https://") and r.licence and r.size for r in published())


def test_zoo_addresses_are_those_of_compressai() -> None:
    pytest.importorskip("torch")
    torch_compat.import_torchvision()
    urls = pytest.importorskip("compressai.zoo.image").model_urls
    for one in published():
        if one.codec in ("c_psnr", "c_ssim"):
            metric = {"c_psnr": "mse", "c_ssim": "ms-ssim"}[one.codec]
            assert one.url == urls[one.model][metric][int(one.level[1:])]


def test_folders_come_in_the_documented_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CIRBENCH_WEIGHTS", "/env")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    hub = Path("/xdg/torch/hub/checkpoints")
    cache = Path("/xdg/cirbench/weights")
    assert weights.search_dirs("/arg") == [Path("/arg"), Path("/env"), cache, hub]
    monkeypatch.setenv("TORCH_HOME", "/t")
    assert weights.search_dirs()[-1] == Path("/t/hub/checkpoints")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert weights.cache_dir() == tmp_path / "home/Library/Caches/cirbench/weights"


def test_the_first_folder_that_has_the_file_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
    file = weights.record("hific-high").file
    (second / file).write_bytes(b"2")
    assert weights.find("hific-high", [first, second]) == second / file
    (first / file).write_bytes(b"1")
    assert weights.find("hific-high", [first, second]) == first / file
    assert weights.find("hific-low", [first, second]) is None


def test_a_changed_file_gets_a_new_hash(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"1")
    before = weights.sha256(path)
    path.write_bytes(b"22")
    assert before == hashlib.sha256(b"1").hexdigest()
    assert weights.sha256(path) == hashlib.sha256(b"22").hexdigest()


def test_missing_weights_say_file_size_licence_and_command() -> None:
    with pytest.raises(UnavailableError) as error:
        weights.resolve("c_ssim", "q2", "published")
    text = str(error.value)
    for part in ("cheng2020_attn-ms-ssim-2-5dad201d.pth.tar", "56 MB", "BSD-3-Clause-Clear"):
        assert part in text
    assert text.endswith("cirbench weights pull cheng2020-attn-ms-ssim-q2")
    with pytest.raises(UnavailableError, match=r"no mini weights .* pull cheng2020-anchor-mse-q2"):
        weights.resolve("c_psnr", "q2", "mini", model="cheng2020-anchor")
    with pytest.raises(CirbenchError, match="policy"):
        weights.resolve("hific", "med", "best")
    with pytest.raises(CirbenchError, match="did you mean hific-"):
        weights.record("hific")


def test_auto_prefers_published_and_falls_back_to_mini(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "m.safetensors").write_bytes(b"mini")
    monkeypatch.setattr(weights, "data_dir", lambda name: tmp_path)
    low = weights.record("hific-low")
    digest = hashlib.sha256(b"mini").hexdigest()
    mini = replace(low, name="m", kind="mini", file="m.safetensors", url="", sha256=digest)
    use(monkeypatch, mini)

    found = weights.resolve("hific", "low", "auto", [tmp_path])
    assert (found.record, found.genuine, found.label) == (mini, True, "m")
    (tmp_path / low.file).write_bytes(b"published")
    theirs = weights.resolve("hific", "low", "auto", [tmp_path])
    assert theirs.record == low and theirs.path == tmp_path / low.file
    assert theirs.genuine is None, "its publisher gives no hash"
    assert weights.resolve("hific", "low", "mini", [tmp_path]).record == mini
    with pytest.raises(CirbenchError, match="ships with cirbench"):
        weights.pull("m")


def test_another_file_under_a_published_name_is_marked(tmp_path: Path) -> None:
    file = weights.record("cheng2020-anchor-mse-q1").file
    (tmp_path / file).write_bytes(b"my own training")
    found = weights.resolve("c_psnr", "q1", "published", [tmp_path], "cheng2020-anchor")
    assert found.genuine is False
    assert found.label == "cheng2020-anchor-mse-q1 (modified)"


def test_pull_gets_checks_and_keeps_a_good_file(
    server: Server, listed: weights.Record, tmp_path: Path
) -> None:
    seen: list[tuple[int, int | None]] = []
    path = weights.pull("fake", tmp_path / "new", lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT))
    assert len(seen) > 3
    assert [p.name for p in path.parent.iterdir()] == ["w.pt"]
    assert weights.pull("fake", tmp_path / "new") == path and len(server.ranges) == 1
    path.write_bytes(b"other")
    with pytest.raises(CirbenchError, match="not the published file"):
        weights.pull("fake", tmp_path / "new")


def test_pull_deletes_a_file_with_the_wrong_hash(
    server: Server, listed: weights.Record, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(monkeypatch, replace(listed, name="wrong", sha256="0" * 8))
    with pytest.raises(CirbenchError, match=f"{DIGEST}.*00000000"):
        weights.pull("wrong", tmp_path)
    assert not list(tmp_path.glob("w.pt*"))


@pytest.mark.parametrize("then", ["whole", "ignore-range"])
def test_pull_goes_on_after_a_cut_connection(
    server: Server, listed: weights.Record, tmp_path: Path, then: str
) -> None:
    server.mode = "cut"
    with pytest.raises(CirbenchError, match="cut after 1,500,000 of 3,072,000 bytes"):
        weights.pull("fake", tmp_path)
    assert not (tmp_path / "w.pt").exists()
    server.mode = then
    assert weights.pull("fake", tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1500000-"]


def test_pull_uses_a_part_that_is_already_whole(
    server: Server, listed: weights.Record, tmp_path: Path
) -> None:
    (tmp_path / "w.pt.part").write_bytes(CONTENT)
    assert weights.pull("fake", tmp_path).read_bytes() == CONTENT


def test_pull_starts_again_when_the_part_is_longer_than_the_file(
    server: Server, listed: weights.Record, tmp_path: Path
) -> None:
    (tmp_path / "w.pt.part").write_bytes(CONTENT + b"more")
    assert weights.pull("fake", tmp_path).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT) + 4}-", None]


def test_pull_explains_404_web_pages_dead_servers_and_bad_folders(
    server: Server, listed: weights.Record, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.mode = "missing"
    with pytest.raises(CirbenchError, match=r"HTTP 404 .*get w.pt from https://zenodo"):
        weights.pull("fake", tmp_path)
    server.mode = "page"
    with pytest.raises(CirbenchError, match="a web page instead of the file"):
        weights.pull("fake", tmp_path)
    use(monkeypatch, replace(listed, name="dead", url="http://127.0.0.1:9/w.pt"))
    with pytest.raises(CirbenchError, match="cannot be reached"):
        weights.pull("dead", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(CirbenchError, match="cannot be written"):
        weights.pull("fake", tmp_path / "file" / "folder")


def test_without_a_published_hash_pull_notes_the_one_it_got(
    server: Server, listed: weights.Record, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(monkeypatch, replace(listed, name="unhashed", sha256=""))
    path = weights.pull("unhashed", tmp_path)
    assert (tmp_path / "w.pt.sha256").read_text() == DIGEST + "\n"
    assert weights.Found(weights.record("unhashed"), path).genuine is True
    path.write_bytes(b"changed later")
    assert weights.Found(weights.record("unhashed"), path).genuine is False


def test_weights_needs_no_torch() -> None:
    code = "import sys, cirbench.weights; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_command_line_lists_finds_and_pulls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from cirbench.cli import main

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CIRBENCH_WEIGHTS", "")  # --weights-dir sets it
    name = "cheng2020-attn-mse-q1"
    run = CliRunner().invoke
    assert "missing" in run(main, ["weights", "list"]).output
    lost = run(main, ["weights", "path", name])
    assert lost.exit_code == 1 and f"weights pull {name}" in lost.output
    folder = tmp_path / "mine"
    folder.mkdir()
    file = folder / weights.record(name).file
    file.write_bytes(b"x")
    found = run(main, ["weights", "path", name, "--weights-dir", str(folder)])
    assert found.output.strip() == str(file)
    mistyped = run(main, ["weights", "pull", "hific-lo"])
    assert mistyped.exit_code == 1 and "hific-low" in mistyped.output
