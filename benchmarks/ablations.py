"""The paper's ablations at equal steps and data: prompts (Table 2), degradation prior and
visual-to-text adapter (Table 3), numbers of prompts (Fig. 6).

Every variant starts from the same prior (the parts of stage 0 in a checkpoint, and nothing that
stage I trained but the V2T adapter, which is in both), trains stage I alone for the same steps on
the same draws, and is decoded by the plain decoder: the compensator is stage II's. Run again, it
goes on where it stopped.

    python benchmarks/ablations.py --train data/bsds --test data/bench --steps 300 --limit 10

prints the table of every variant against the one without prompts, with 95 % intervals over photos.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

VARIANTS = {
    "prompts none": ["model.prompt=none"],
    "prompts single": ["model.prompt=single"],
    "prompts multiple": ["model.prompt=multiple"],
    "prompts moe": [],
    "no degradation prior": ["model.degradation_prior=false"],
    "no V2T": ["model.v2t=false"],
    "N=4 K=3": ["model.experts=4"],
    "N=14 K=3": ["model.experts=14"],
    "N=7 K=1": ["model.top_k=1"],
    "N=7 K=5": ["model.top_k=5"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", required=True, help="data set to train on")
    parser.add_argument("--test", required=True, help="data set to score, another one")
    parser.add_argument(
        "--start", type=Path, help="checkpoint with the prior; default: the shipped one"
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--limit", type=int, default=10, help="photos of each set")
    parser.add_argument("--kind", default="seen", help="tasks to score, e.g. seen,cross-type")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("ablations"))
    parser.add_argument("--precision", default="no")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--sets", default="", help="sets to score, e.g. live1")
    given = parser.parse_args()
    start = prior(given.start, given.out / "prior")
    scored = []
    for seed in range(given.seeds):
        for name in given.only:
            label = name if given.seeds == 1 else f"{name}, seed {seed}"
            folder = given.out / label.replace(" ", "-").replace(",", "")
            checkpoint = train(given, start, folder / "run", seed, VARIANTS[name])
            score(given, folder / "eval", checkpoint, label)
            scored.append(str(folder / "eval"))
    against = f"prompts none{'' if given.seeds == 1 else ', seed 0'}"
    compare = ["eval", "--compare", *scored, "--metrics", "psnr,ssim,gmsd", "--by", "kind"]
    cirbench(*compare, *(["--against", against] if "prompts none" in given.only else []))


def prior(source: Path | None, folder: Path) -> Path:
    """A checkpoint of stage 0's parts alone."""
    from cirbench.evaluation import checkpoints
    from cirbench.models.moe_diffir import checkpoint, parts

    if source is None:
        shipped = checkpoints.shipped()
        if shipped is None:
            sys.exit("no checkpoint comes with this installation; give one with --start")
        source = shipped.path
    if not folder.is_dir():
        checkpoint.save(checkpoint.load(source), folder, parts.STAGES[0])
    return folder


def train(given: argparse.Namespace, start: Path, run: Path, seed: int, changes: list[str]) -> Path:
    """Train stage I of a variant, or go on with it; its checkpoint."""
    checkpoint = run / "prompt" / f"step-{given.steps:07d}"
    if checkpoint.is_dir():
        return checkpoint
    if (run / "settings.json").is_file():
        cirbench("train", "--resume", "--out", str(run))
        return checkpoint
    settings = [f"stages.prompt.steps={given.steps}", "grid_every=100000", *changes]
    options = ["--preset", "tiny", "--stage", "1", "--batch-size", str(given.batch_size)]
    options += ["--seed", str(seed), "--precision", given.precision, "--out", str(run)]
    options += ["--from", str(start)]
    chosen = [part for one in settings for part in ("--set", one)]
    cirbench("train", "--data", given.train, *options, *chosen)
    return checkpoint


def score(given: argparse.Namespace, out: Path, checkpoint: Path, label: str) -> None:
    """Score a variant; what is already scored is not done again."""
    options = ["--checkpoint", str(checkpoint), "--name", label, "--limit", str(given.limit)]
    options += ["--set", given.sets] if given.sets else []
    options += ["--kind", given.kind]
    metrics = ["--metrics", "psnr,ssim,gmsd", "--protocol", "native-rgb,native-y"]
    cirbench("eval", "--data", given.test, *options, *metrics, "--out", str(out), "--no-report")


def cirbench(*arguments: str) -> None:
    """Run a command of this installation; ends this script when it fails."""
    print("$ cirbench " + " ".join(arguments), flush=True)
    done = subprocess.run([sys.executable, "-m", "cirbench", *arguments])
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
