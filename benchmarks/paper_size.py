"""What MoE-DiffIR costs at the paper's size, with random weights: nothing is restored here.

Builds the ``paper`` model (Stable Diffusion 2.1-base, DA-CLIP ViT-B/32, CLIP RN50), restores one
256x256 picture with a few sampler steps, and takes an optimiser step of stages I and II; LPIPS has
a random backbone. Each in a process of its own, so that its peak memory is its own.

    python benchmarks/paper_size.py                      # on the CPU: minutes, 12 GB of memory
    python benchmarks/paper_size.py --device cuda --batch 32 --precision bf16 --repeat 10
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import Any

PHASES = ("build", "restore", "stage 1", "stage 2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=1, help="pairs in an optimiser step")
    parser.add_argument("--repeat", type=int, default=1, help="times, after one that is not timed")
    parser.add_argument("--sampler-steps", type=int, default=2)
    parser.add_argument("--precision", default="no", choices=["no", "bf16"])
    parser.add_argument("--phase", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.phase:
        print(json.dumps(measure(given)))
        return
    print(f"{'':<28} {'seconds':>8} {'CPU s':>8} {'first':>8} {'peak GB':>8}")
    for phase in PHASES:
        command = [sys.executable, *sys.argv, "--phase", phase]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{found['what']:<28} {found['seconds']:>8.2f} {found['cpu']:>8.2f} "
            f"{found['first']:>8.2f} "
            f"{found['peak'] / 1e9:>8.1f}",
            flush=True,
        )


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Run one phase; the first time is told apart from the mean of the others."""
    import torch

    from cirbench.models.moe_diffir import presets
    from cirbench.models.moe_diffir.model import MoEDiffIR

    started = clocks()
    torch.manual_seed(0)
    model = MoEDiffIR(presets.paper()).to(given.device)
    model.random_weights = True
    if given.phase == "build":
        return result("build, random weights", [since(started)], given.device)
    what, work = restoring(model, given) if given.phase == "restore" else training(model, given)
    times = []
    for _ in range(1 + given.repeat):
        started = clocks()
        work()
        if given.device != "cpu":
            torch.cuda.synchronize()
        times.append(since(started))
    return result(what, times, given.device)


def restoring(model: Any, given: argparse.Namespace) -> tuple[str, Any]:
    """One picture through all of the model."""
    import torch

    from cirbench.models.moe_diffir.config import SamplerConfig
    from cirbench.models.moe_diffir.restore import restore

    lq = torch.rand(1, 3, 256, 256)
    sampler = SamplerConfig("ddpm", given.sampler_steps)
    what = f"restore 256x256, {given.sampler_steps} steps"
    return what, lambda: restore(model, lq, seeds=[0], sampler=sampler)


def training(model: Any, given: argparse.Namespace) -> tuple[str, Any]:
    """One optimiser step of a stage, through the trainer's own losses and optimisers."""
    import torch

    from cirbench.models.moe_diffir import training as stages
    from cirbench.models.moe_diffir.parts import set_stage
    from cirbench.train import optimizer, settings
    from cirbench.train.noise import Noise

    number = int(given.phase[-1])
    name, loss = (("prompt", stages.prompt_loss), ("compensator", stages.compensator_loss))[
        number - 1
    ]
    chosen = settings.preset("paper").stages[name]
    optimizers = optimizer.build(set_stage(model, number), chosen)
    model.train()
    size = given.batch
    batch = {key: torch.rand(size, 3, 256, 256, device=given.device) for key in ("hq", "lq")}
    batch["latents"] = torch.randn(size, 4, 32, 32, device=given.device)
    fast = given.precision == "bf16"

    def step() -> None:
        noise = Noise((0,), range(size), size, given.device)
        with torch.autocast(given.device, torch.bfloat16) if fast else nullcontext():
            value = loss(model, batch, noise, chosen)["loss"]
        value.backward()
        for one in optimizers:
            one.step()
            one.zero_grad(set_to_none=True)

    return f"stage {'I' * number}, one step of {size}", step


def clocks() -> tuple[float, float]:
    """Seconds on the wall, and of CPU in all threads: the latter other work hardly changes."""
    return time.perf_counter(), time.process_time()


def since(before: tuple[float, float]) -> tuple[float, ...]:
    return tuple(now - then for now, then in zip(clocks(), before, strict=True))


def result(what: str, times: list[tuple[float, ...]], device: str) -> dict[str, Any]:
    """The means of all times but the first, and the process's peak memory in bytes."""
    import torch

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if device != "cpu":
        peak = torch.cuda.max_memory_allocated()
    rest = times[1:] or times
    wall, cpu = (sum(one) / len(rest) for one in zip(*rest, strict=True))
    return {"what": what, "first": times[0][0], "seconds": wall, "cpu": cpu, "peak": peak}


if __name__ == "__main__":
    main()
