"""Compare what ``cirbench build --dry-run`` says with what the build then costs.

    python benchmarks/estimate.py [PLAN ...] [--photos FOLDER] [--limit N]

Each plan is estimated and built in processes of their own, of the sample photos or those of a
folder, one after the other. Core seconds are CPU time, which other work on the machine hardly
changes: of the build, those of its process and of all that it started, starting Python included.
Wall times are as busy as the machine is. ``all`` are the 21 tasks of the paper and its unseen ones.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PLANS = {
    "jpeg": ["--codec", "jpeg"],
    "hevc": ["--codec", "hevc"],
    "vvc": ["--codec", "vvc"],
    "tiles": ["--codec", "jpeg,hevc", "--tile", "128"],
    "c_psnr": ["--codec", "c_psnr", "--weights", "mini"],
    "all": ["--weights", "mini"],
}
ESTIMATE = """
import json, sys
from cirbench import cli, estimate
def describe(request, cost):
    return "cost " + json.dumps((cost.core_seconds, cost.seconds, cost.bytes))
estimate.describe = describe
cli.main()
"""


def run(*command: str) -> tuple[float, float, str]:
    """(CPU seconds, wall seconds, output) of a process and those that it started."""
    before, start = _cpu(), time.perf_counter()
    done = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, text=True, check=True)
    return _cpu() - before, time.perf_counter() - start, done.stdout


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def size(folder: Path) -> int:
    """Bytes of a data set's bitstreams and PNGs."""
    files = [*(folder / "bitstreams").rglob("*"), *(folder / "lq").rglob("*")]
    return sum(file.stat().st_size for file in files if file.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("plans", nargs="*", metavar="PLAN", help=f"of {', '.join(PLANS)}")
    parser.add_argument("--jobs", default=str(os.cpu_count()))
    parser.add_argument("--photos", type=Path, help="folder of photos instead of the samples")
    parser.add_argument("--limit", help="use so many of them")
    options = parser.parse_args()
    print(f"{'':<8}{'core seconds':^27}{'wall seconds':^18}{'MB':^18}{'dry run':>9}")
    print(f"{'plan':<8}{'estimate':>9}{'build':>9}{'off by':>9}", end="")
    print(f"{'estimate':>9}{'build':>9}" * 2 + f"{'CPU s':>9}", flush=True)
    for plan in options.plans or PLANS:
        with tempfile.TemporaryDirectory(prefix="cirbench-estimate-") as folder:
            out = Path(folder) / "out"
            build = ["build", *([str(options.photos)] if options.photos else []), *PLANS[plan]]
            build += ["--limit", options.limit] if options.limit else []
            build += ["--jobs", options.jobs, "--yes", "--out", str(out)]
            spent, _, said = run("-c", ESTIMATE, *build, "--dry-run")
            core, wall, room = json.loads(said.rpartition("cost ")[2])
            core_build, wall_build, _ = run("-m", "cirbench", *build)
            cells = f"{core:>9.1f}{core_build:>9.1f}{core / core_build - 1:>+9.0%}"
            cells += f"{wall:>9.1f}{wall_build:>9.1f}{room / 1e6:>9.1f}{size(out) / 1e6:>9.1f}"
            print(f"{plan:<8}{cells}{spent:>9.1f}", flush=True)


if __name__ == "__main__":
    main()
