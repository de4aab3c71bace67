"""cirbench doctor: what is fine, what is broken, and what it says to do."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import sqlite3
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from cirbench import codecs, doctor, info
from cirbench.cli import main
from cirbench.codecs import webp
from cirbench.doctor import NOTE, OK, PROBLEM, disk, encoders, machine, packages, weights

REAL = list(info.encoders())


def states(findings) -> dict[str, str]:
    return {finding.what: finding.state for finding in findings}


def test_this_machine_is_fine_and_nothing_is_left_behind(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    for name in codecs.names():
        assert any(line.split()[:2] in (["ok", name], ["note", name]) for line in lines), name
    for name in ("jpeg", "webp", "hevc", "vvc", "avc", "disk", "journal", "packages"):
        assert any(line.split()[:2] == ["ok", name] for line in lines), name
    assert lines[-1].startswith("problems: 0, notes: ")
    assert not list(tmp_path.iterdir())


def test_an_encoder_that_does_not_do_what_it_says_is_a_problem(tmp_path, monkeypatch) -> None:
    def lossless(rgb, level, settings):
        import imagecodecs

        return codecs.Encoded(imagecodecs.webp_encode(rgb, lossless=True), "")

    monkeypatch.setattr(webp, "encode", lossless)
    monkeypatch.setattr(info, "encoders", lambda: [e for e in REAL if e.codec in ("webp", "jpeg")])
    found = {finding.what: finding for finding in encoders.check(tmp_path)}
    assert found["jpeg"].state == OK
    assert found["webp"].state == PROBLEM and "lossy" in found["webp"].text
    assert found["webp"].todo


def test_a_broken_library_is_one_problem_not_a_traceback(tmp_path, monkeypatch) -> None:
    def broken(rgb, level, settings):
        raise ImportError("libwebp.so: undefined symbol")

    monkeypatch.setattr(webp, "encode", broken)
    monkeypatch.setattr(info, "encoders", lambda: [e for e in REAL if e.codec in ("webp", "jpeg")])
    monkeypatch.setattr(doctor.packages, "check", lambda: iter(()))
    monkeypatch.setattr(doctor.weights, "check", lambda: iter(()))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 1 and "undefined symbol" in done.output
    assert "problems: 1," in done.output


def test_a_missing_encoder_is_a_problem_a_missing_extra_a_note(tmp_path, monkeypatch) -> None:
    gone = codecs.Probe(False, hint="install it")
    kept = [dataclasses.replace(e, probe=gone) for e in REAL if e.codec in ("vvc", "c_psnr")]
    monkeypatch.setattr(info, "encoders", lambda: kept)
    found = states(encoders.check(tmp_path))
    assert found == {"vvc": PROBLEM, "vvc vtm": NOTE, "c_psnr": NOTE}


def test_a_folder_that_cannot_be_written_is_a_problem_and_ends_the_disk_checks(tmp_path) -> None:
    missing = tmp_path / "gone"
    (finding,) = disk.check(missing)
    assert finding.state == PROBLEM and str(missing) in finding.text and "--out" in finding.todo
    assert disk.existing(missing / "a" / "b") == tmp_path


def test_a_slow_or_full_disk_is_a_note(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(disk, "_SLOW", 1e15)
    monkeypatch.setattr(disk, "_LITTLE_ROOM", 1e18)
    found = states(disk.check(tmp_path))
    assert found == {"disk": NOTE, "disk speed": NOTE, "journal": OK}
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_is_a_problem(tmp_path, monkeypatch) -> None:
    def refuse(*_args, **_kwargs):
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(disk.sqlite3, "connect", refuse)
    assert states(disk.check(tmp_path))["journal"] == PROBLEM


class Installed:
    """Stands in for the environment: a few packages with versions and requirements."""

    def __init__(self, requires: list[str], versions: dict[str, str], nested=()) -> None:
        self.requires, self.versions, self.nested = requires, versions, dict(nested)
        self.metadata = importlib.metadata.distribution("cirbench").metadata

    def version(self, name: str) -> str:
        if name not in self.versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return self.versions[name]

    def distribution(self, name: str):
        if name == "cirbench":
            return self
        self.version(name)
        return Installed(self.nested.get(name, []), self.versions)


def packages_with(monkeypatch, *args, **kwargs):
    there = Installed(*args, **kwargs)
    monkeypatch.setattr(packages, "version", there.version)
    monkeypatch.setattr(packages, "distribution", there.distribution)
    return {finding.what: finding for finding in packages.check()}


def test_versions_are_compared_with_what_is_supported(monkeypatch) -> None:
    found = packages_with(
        monkeypatch,
        ["numpy>=1.26", "click>=8.4", "scipy>=1.11", "compressai>=1.2; extra == 'learned'"],
        {"numpy": "2.1", "click": "8.0", "compressai": "1.2.8", "pillow": "12.0"},
        {"compressai": ["numpy<2"]},
    )
    assert found["click"].state == PROBLEM and found["click"].todo == "pip install 'click>=8.4'"
    assert found["scipy"].text == "is not installed"
    assert found["compressai"].text == "1.2.8 needs numpy<2, here is numpy 2.1"
    assert found["[learned]"].state == OK and found["Pillow"].state == OK
    assert "packages" not in found


def test_what_an_extra_lacks_is_named_with_the_command(monkeypatch) -> None:
    found = packages_with(monkeypatch, ["lpips>=0.1.4; extra == 'eval'"], {"pillow": "12.0"})
    assert found["[eval]"].state == NOTE and "lpips" in found["[eval]"].text
    assert found["[eval]"].todo == "pip install 'cirbench[eval]'"


def test_pillow_and_pillow_simd_together_are_a_problem(monkeypatch) -> None:
    both = {"pillow": "13.0.0", "pillow-simd": "12.1.1"}
    found = packages_with(monkeypatch, [], both)["Pillow"]
    assert found.state == PROBLEM and "pip uninstall" in found.todo


def test_a_gpu_that_torch_cannot_use_is_a_note(monkeypatch) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("torch sees this machine's GPU")
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    found = {finding.what: finding for finding in machine.check()}
    assert found["GPU"].state == NOTE and "CUDA" in found["GPU"].todo


def test_little_memory_is_a_note(monkeypatch) -> None:
    monkeypatch.setattr(machine, "memory", lambda: 5e8)
    assert states(machine.check())["memory"] == NOTE
    monkeypatch.undo()
    total = subprocess.run(["getconf", "_PHYS_PAGES"], capture_output=True, text=True, check=False)
    if total.returncode == 0:
        assert 0 < machine.memory() <= int(total.stdout) * 2**16


def test_missing_weights_come_with_the_command_that_gets_them(tmp_path, monkeypatch) -> None:
    for name in ("CIRBENCH_WEIGHTS", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    found = {finding.what: finding for finding in weights.check()}
    assert found["hific weights"].todo == "cirbench weights pull hific-low hific-med hific-high"
    assert "psnr" in found["metrics"].text
    file = tmp_path / "cheng2020_attn-mse-1-465f2b64.pth.tar"
    file.write_bytes(b"another network")
    found = {finding.what: finding for finding in weights.check()}
    assert found["c_psnr weights"].state == NOTE and str(file) in found["c_psnr weights"].text


def test_doctor_and_info_agree_on_what_is_here(tmp_path: Path) -> None:
    names = {f"{e.codec} {e.name}" if not e.is_default else e.codec for e in REAL}
    text = "\n".join(info.lines())
    assert all(f"{e.codec:<7} {e.name}" in text for e in REAL) and len(names) == len(REAL)
