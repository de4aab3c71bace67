"""Every command and every Python example of README.md and docs/ is run, with small stand-ins.

All blocks of a document run in its order, in a folder and a home of its own, on tiny photos. What
is changed, made beforehand, or not run is in the tables below: a new command is simply run, and
has to work.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import types
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from click.testing import CliRunner

import cirbench
from cirbench import codecs, samples
from cirbench.cli import main
from cirbench.samples import sample_source
from cirbench.sources import read

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]

# Programs other than cirbench: why they are not run here.
OTHER_PROGRAMS = {
    "make": "makes environments; CI runs demo's steps, test, lint and docs",
    "python": "benchmarks: that the file and its options exist is checked instead",
    "python3": "makes an environment",
    ".venv/bin/pip": "installs; CI does, with the constraints",
    "accelerate": "several GPUs",
    "torchrun": "several processes",
    "source": "enters an environment",
    "eval": "shell completion: tests/test_cli_help.py",
}

# Commands that are not run: (pattern of the command, why).
NOT_RUN = [
    (r"weights pull", "downloads"),
    (r"--out data/bsds ", "the 300 training photos of BSDS500"),
    (r"train --preset paper", "needs Stable Diffusion, CLIP and DA-CLIP, and a GPU"),
]

# Documents whose commands another test runs.
ELSEWHERE = {"release.md": "tests/test_release.py", "cluster.md": "tests/test_backends.py"}

# What is changed so that it takes seconds: (pattern, replacement, why).
LIGHTER = [
    (r"--jobs \d+", "--jobs 2", "the machine has two cores"),
    (r"^cirbench build$", "cirbench build --codec jpeg,webp,avc", "learned codecs; VVC: README.md"),
    (r"--tile 512 --stride 256", "--tile 48 --stride 32", "the photos are tiny"),
    (r"--recipe paper --store", "--recipe quick --store", "VVC at its slow preset"),
    (r"(build [\w=~/. ]+(DF2K|BSDS500|photos|LIVE1)(?! --codec| --recipe| --split test))",
     r"\1 --recipe quick", "the same"),
    (r"^cirbench train( --preset tiny --stage 0|$)",
     r"cirbench train --preset tiny --stage 0 --steps 1 --batch-size 1", "hours of training"),
    (r"train (--steps .0|--stage 1)", r"train \1 --steps 1 --batch-size 1", "minutes of training"),
    (r"step-\d{7}", "step-0000001", "that training's only step"),
    (r"num_workers=8", "num_workers=0", "no processes"),
    (r'"data/cir", split="train"', '"data/cir", split="train", size=48', "the photos are tiny"),
    (r'(Manifest.open\("data/train"\), Manifest.open\("data/)test', r"\1train",
     "the documented pair is one with a problem"),
]  # fmt: skip

# Exit codes other than 0: (pattern, what it may be).
EXIT_CODES = [
    (r"check data/train data/test$", {1}),  # documented: it finds the problem
    (r"check data/fast data/slow$", {1}),  # the same
    (r"sets check live1=", {1}),  # the stand-in is not LIVE1
    (r"duplicates data/train data/test", {1}),  # the stand-ins share a photo
    (r"duplicates data/cir$", {0}),
    (r"--encoder hm$", {0, 1}),  # without HM: an error that says how to get it
    (r"--weights published", {0, 1}),  # without the files: the command that gets them
]

# These begin in an empty folder; the others where somebody has built the sample photos already.
EMPTY = {"README.md", "export.md"}

# Made before a document's own commands, where it writes of something that is there already.
BEFORE = {
    "evaluate.md": [
        "cirbench eval --restored outputs --name a --out eval/a",
        "cirbench eval --model identity --name b --out eval/b",
    ],
    "recipes.md": [
        "cirbench build --codec hevc --qp 37 --preset fast --out data/fast",
        "cirbench build --codec hevc --qp 37 --out data/slow",
    ],
    "sets.md": [
        "cirbench build train=~/photos --split train --codec jpeg --out data/train",
        "cirbench build test=~/photos --split test --codec jpeg --out data/test",
    ],
    "small.md": ["cirbench build live1=LIVE1 --codec jpeg --split test --out data/bench"],
    "stats.md": ["cirbench build live1=LIVE1 --codec jpeg,webp --out data/live1"],
}

# What these print is compared with the text below them.
EXACT = {"cirbench recipes", "cirbench recipes show quick", "cirbench recipes diff paper release"}


@dataclass(frozen=True)
class Example:
    """A shell command with the output shown below it, or a block of Python or TOML."""

    kind: str
    text: str
    shown: str = ""


def examples(text: str) -> Iterator[Example]:
    """Everything that a document asks its reader to type, in order."""
    for indent, language, block in re.findall(
        r"^( *)```(\w*)\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL
    ):
        block = re.sub(rf"^{indent}", "", block, flags=re.MULTILINE)
        if language in ("python", "toml"):
            yield Example(language, block)
        elif language in ("", "bash", "sh", "console"):
            yield from commands(block.replace("\\\n", " "))


def commands(block: str) -> Iterator[Example]:
    """Lines after ``$``; in a block without any, those that begin with a program we know."""
    if re.search(r"^\$ ", block, re.MULTILINE):
        parts = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    else:
        parts = [(line, "") for line in block.splitlines()]
        programs = ("cirbench", *OTHER_PROGRAMS)
        parts = [part for part in parts if part[0].split(" ")[0] in programs]
    for line, shown in parts:
        for one in re.sub(r"\s+# .*", "", line).split(";"):
            yield Example("shell", re.sub(r"\s+", " ", one.strip()), shown)


def changed(text: str) -> str:
    for pattern, replacement, _why in LIGHTER:
        text = re.sub(pattern, replacement, text)
    return text


def photo(file: Path, seed: int, size: tuple[int, int] = (64, 80)) -> None:
    """A small piece of a real photo, another one for every seed, coded by the file's ending."""
    originals = [file for file, _split in sample_source().files]
    rgb = read(sample_source().root / originals[seed % len(originals)]).rgb
    top, left = (17 * seed) % (rgb.shape[0] - size[0]), (31 * seed) % (rgb.shape[1] - size[1])
    piece = np.ascontiguousarray(rgb[top : top + size[0], left : left + size[1]])
    file.parent.mkdir(parents=True, exist_ok=True)
    is_jpeg = file.suffix == ".jpg"
    file.write_bytes(
        imagecodecs.jpeg_encode(piece, 95) if is_jpeg else imagecodecs.png_encode(piece)
    )


def run(line: str) -> str:
    """Run one cirbench command in this process; returns what it prints."""
    words = [word.replace("~/", f"{Path.home()}/") for word in shlex.split(line)]
    done = CliRunner().invoke(main, words[1:], prog_name="cirbench", catch_exceptions=False)
    allowed = next((codes for pattern, codes in EXIT_CODES if re.search(pattern, line)), {0})
    assert done.exit_code in allowed, f"{line}: exit code {done.exit_code}\n{done.output}"
    return done.output


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with tiny folders under famous names, and tiny sample photos."""
    home = tmp_path_factory.mktemp("home")
    seed = 0
    folders = {
        "DF2K": ("0001.png", "000001.png"),
        "DIV2K": ("0001.png",),
        "LIVE1": ("bikes.png", "ocean.png"),
        "BSDS500": ("train/2092.jpg", "test/2018.jpg"),
        "photos": ("a.jpg", "b.png", "c.png"),
    }
    for folder, names in folders.items():
        for name in names:
            photo(home / folder / name, seed := seed + 1)
    for name, split in sample_source().files:
        # MS-SSIM, in the tables of the test split, needs 161 pixels; training crops 128
        size = (176, 184) if split == "test" else (132, 136)
        photo(home / "skimage" / "data" / name, seed := seed + 1, size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        for name in ("XDG_CACHE_HOME", "HF_HOME", "CIRBENCH_WEIGHTS", "TORCH_HOME"):
            patch.delenv(name, raising=False)
        tiny = types.SimpleNamespace(submodule_search_locations=[str(home / "skimage")])
        patch.setattr(samples, "find_spec", lambda name: tiny)
        yield home


@pytest.fixture(scope="module")
def built(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample photos' data set, made once; the learned codecs are left out, to be quick."""
    out = tmp_path_factory.mktemp("built") / "cir"
    run(f"cirbench build --codec jpeg,webp,avc --out {out}")
    run(f"cirbench build --codec vvc --qp 37,42,47 --out {out}")
    return out


@pytest.fixture
def folder(built: Path, home: Path, tmp_path: Path, monkeypatch) -> Path:
    """Where a document's reader sits: a data set, photos, somebody's outputs."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(built, "data/cir")
    for name in ("photos", "LIVE1", "BSDS500"):
        shutil.copytree(home / name, name)
    photo(Path("photo.jpg"), 3)
    lines = ["row_id,path"]
    for row in cirbench.Manifest.open("data/cir").filter(split="test"):
        name = f"{row['set']}/{row['task']}/{Path(row['lq_path']).name}"
        lines.append(f"{row['row_id']},{name}")
        Path("outputs", name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path("data/cir", row["lq_path"]), Path("outputs", name))
    Path("outputs/which.csv").write_text("\n".join(lines))
    shutil.copyfile("outputs/which.csv", "which.csv")
    Path("splits.csv").write_text("a.jpg,train\nb.png,train\nc.png,test\n")
    return tmp_path


@pytest.mark.parametrize(
    "document", [one for one in DOCUMENTS if one.name not in ELSEWHERE], ids=lambda path: path.name
)
def test_what_a_document_shows_works(document: Path, folder: Path) -> None:
    if document.name in EMPTY:
        shutil.rmtree("data")
        shutil.rmtree("outputs")
    names = {"cirbench": cirbench, "Path": Path, "imagecodecs": imagecodecs}
    names["my_method"] = lambda lq: lq
    names["rgb"] = np.zeros((32, 48, 3), np.uint8)
    for line in BEFORE.get(document.name, ()):
        run(line)
    for example in examples(document.read_text(encoding="utf-8")):
        text = changed(example.text)
        program = text.split(" ")[0]
        if example.kind == "toml" and text.startswith("name = "):
            Path("mine.toml").write_text(text)  # the recipe that the next commands name
        elif example.kind == "python" and "from .base import" not in text:
            if "torch" in text:
                names["torch"] = pytest.importorskip("torch")
            if "from datasets" in text:
                pytest.importorskip("datasets")
            exec(compile(text, document.name, "exec"), names)
        elif program == "head":
            subprocess.run(shlex.split(text), check=True, capture_output=True)
        elif text.startswith("python -m "):
            assert find_spec(text.split(" ")[2]), text
        elif program == "python":
            script, *options = text.split(" ")[1:]
            known = (ROOT / script).read_text(encoding="utf-8")
            assert all(one in known for one in options if one.startswith("--")), text
        elif program == "cirbench" and not any(re.search(p, text) for p, _why in NOT_RUN):
            output = run(text)
            if text in EXACT:
                assert output.strip() == example.shown.strip(), text
        elif example.kind == "shell":
            assert program == "cirbench" or program in OTHER_PROGRAMS, f"nobody runs: {text}"


def test_every_entry_of_the_tables_is_about_something_documented() -> None:
    texts = [
        example.text
        for document in DOCUMENTS
        for example in examples(document.read_text(encoding="utf-8"))
    ]
    patterns = [p for table in (NOT_RUN, LIGHTER, EXIT_CODES) for p, *_ in table]
    patterns += [f"^{re.escape(program)} " for program in OTHER_PROGRAMS]
    patterns += [f"^{re.escape(line)}$" for line in EXACT]
    for pattern in patterns:
        assert any(re.search(pattern, text) for text in texts), f"nothing matches {pattern}"
    for documents in (BEFORE, EMPTY, ELSEWHERE):
        assert set(documents) <= {document.name for document in DOCUMENTS}
    assert all((ROOT / test).is_file() for test in ELSEWHERE.values())


def test_the_codec_of_the_readme_works(tmp_path: Path, monkeypatch) -> None:
    """One TOML and one file, as the README says, and a build knows the codec."""
    found = list(examples((ROOT / "README.md").read_text(encoding="utf-8")))
    toml = next(one.text for one in found if one.kind == "toml")
    module = next(one.text for one in found if "from .base import" in one.text)
    shutil.copytree(codecs.data_dir("codecs"), tmp_path / "codecs")
    (tmp_path / "codecs" / "avif.toml").write_text(toml)
    (tmp_path / "avif.py").write_text(module)
    monkeypatch.setattr(codecs, "data_dir", lambda name: tmp_path / name)
    monkeypatch.setattr(codecs, "__path__", [*codecs.__path__, str(tmp_path)])
    codecs._registry.cache_clear()
    try:
        photo(tmp_path / "photos" / "a.png", 1)
        out = tmp_path / "data"
        run(f"cirbench build {tmp_path / 'photos'} --codec avif --qf 30 --out {out} --jobs 1")
        (row,) = cirbench.Manifest.open(out)
        assert row["status"] == "ok" and row["psnr_rgb"] > 25 and row["chroma"] == "444"
        run(f"cirbench build {tmp_path / 'photos'} --codec avif --qf 30 --dry-run")
    finally:
        codecs._registry.cache_clear()


@pytest.mark.parametrize("document", [*DOCUMENTS, *ROOT.glob("codecs/mini/*.md")],
                         ids=lambda path: path.name)  # fmt: skip
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!\w+:|#)([^)\s]+)\)", text):
        assert (document.parent / target.split("#")[0]).is_file(), target
