"""What Pillow-SIMD buys, and that ``make simd`` and ``make no-simd`` swap it in and back.

    python benchmarks/simd.py [--rounds 5]

Makes a virtual environment of its own in a temporary folder (without the learned codecs: no torch),
measures with Pillow, runs ``make simd`` on that environment, measures with Pillow-SIMD, runs
``make no-simd`` and measures with Pillow again. After each step ``cirbench info`` has to name the
package that is live. Needs the network, a C compiler, and the headers of zlib and libjpeg (Debian,
Ubuntu: apt install gcc zlib1g-dev libjpeg-dev).

Measured is CPU time, the least of some rounds, on photos of 2040x1356:

- resize: the loader's ``--transform resize``, ``cirbench.data.transforms.resize`` to 256x256;
- half: Pillow's bicubic to half the size;
- jpeg, png: Pillow's decoders (the loader itself decodes with imagecodecs: nothing to gain there).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
WORK = ("resize", "half", "jpeg", "png")


def least(rounds: int, work: Callable[[], object], times: int) -> float:
    """CPU milliseconds of one call of ``work``: the best round of ``times`` calls."""
    found = []
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(times):
            work()
        found.append((time.process_time() - start) / times)
    return 1000 * min(found)


def measured_here(rounds: int) -> dict[str, float]:
    """Milliseconds of every kind of work, with the Pillow of this interpreter."""
    from common import mosaics
    from PIL import Image

    from cirbench import sources
    from cirbench.data.transforms import resize

    with tempfile.TemporaryDirectory() as folder:
        (file,) = mosaics(Path(folder), 1)
        rgb, png = sources.read(file).rgb, file.read_bytes()
    photo = Image.fromarray(rgb)
    half = photo.width // 2, photo.height // 2
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=90)
    jpeg = buffer.getvalue()
    return {
        "resize": least(rounds, lambda: resize(rgb, 256), 20),
        "half": least(rounds, lambda: photo.resize(half, Image.Resampling.BICUBIC), 10),
        "jpeg": least(rounds, lambda: Image.open(io.BytesIO(jpeg)).load(), 5),
        "png": least(rounds, lambda: Image.open(io.BytesIO(png)).load(), 3),
    }


def run(*command: str | Path, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [*map(str, command)], cwd=ROOT, env=kept | environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def live(venv: Path) -> str:
    lines = run(venv / "bin" / "cirbench", "info").splitlines()
    return next(line for line in lines if line.startswith("Pillow: "))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measured_here(options.rounds)))
        return
    top = Path(tempfile.mkdtemp(prefix="cirbench-simd-"))
    venv = top / "venv"

    def measured(package: str) -> dict[str, float]:
        line = live(venv)
        assert line.startswith(f"Pillow: {package} "), line
        print(line, flush=True)
        script = (venv / "bin" / "python", __file__, "--here", "--rounds", str(options.rounds))
        numbers: dict[str, float] = json.loads(run(*script, OMP_NUM_THREADS="1"))
        return numbers

    try:
        run(sys.executable, "-m", "venv", venv)
        pip = (venv / "bin" / "python", "-m", "pip", "install", "--quiet")
        run(*pip, "--constraint", "constraints.txt", ".")
        (venv / ".demo").touch()  # as far as make is concerned, the environment is made
        before = measured("pillow")
        run("make", "simd", f"VENV={venv}")
        simd = measured("pillow-simd")
        run("make", "no-simd", f"VENV={venv}")
        after = measured("pillow")
    finally:
        shutil.rmtree(top)
    print(f"{'CPU ms':<10}{'Pillow':>10}{'again':>10}{'SIMD':>10}{'ratio':>8}")
    for work in WORK:
        ratio = statistics.fmean((before[work], after[work])) / simd[work]
        cells = (before[work], after[work], simd[work])
        print(f"{work:<10}" + "".join(f"{cell:>10.2f}" for cell in cells) + f"{ratio:>8.2f}")


if __name__ == "__main__":
    main()
