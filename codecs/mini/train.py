"""Train one of the mini weight files: `python train.py c_psnr-q3.toml --photos FOLDER`.

The networks are the codecs' own (CompressAI's Cheng2020, `cirbench.codecs.hific_model`); what is
here is how their weights came to be. Each TOML beside this file is one model. The loss is

    bits per pixel + lambda * (weighted distortions of the TOML)

and lambda follows the rate: it falls while the model spends more than `bpp`, and rises while it
spends less, so every model ends at the rate it is meant for. No loss needs a downloaded network.

Everything random in a step comes from (seed, step), and a checkpoint holds everything else, so an
interrupted run that is started again ends with the weights of one that never stopped.
"""

from __future__ import annotations

import json
import math
import os
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from cirbench import images
from cirbench.codecs import hific_model
from cirbench.codecs.torch_compat import import_torchvision
from cirbench.errors import CirbenchError
from cirbench.samples import sample_source
from cirbench.sources import Source, find
from cirbench.train.optimizer import Muon

import_torchvision()  # before compressai imports it
from compressai.models import Cheng2020Attention  # noqa: E402
from compressai.ops import LowerBound  # noqa: E402
from pytorch_msssim import ms_ssim  # noqa: E402

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Plan:
    """What a TOML says.

    Attributes:
        name: of the weight file, without its ending.
        bpp: bits per pixel of the training crops that lambda steers towards.
        distortion: weight of each of :func:`distortions`.
        channels: Cheng2020's N; absent for HiFiC.
        hific: HiFiC's sizes (:class:`cirbench.codecs.hific_model.Config`); absent for Cheng2020.
        start: TOML of the model whose finished weights this one starts from.
        steps, batch, crop: gradient steps, crops per step, side of a crop in pixels.
        zoom: photos are shrunk by a random factor from this one to 1 before they are cropped.
        rate, muon: peak learning rates of Adam and of :class:`Muon`; they fall to a hundredth along
            a cosine after ``warmup`` steps.
        steer: how far lambda moves per step (in its logarithm) at twice the wanted rate.
        weight: lambda at the start.
        adversary_from: step at which the discriminator joins in.
        seed: of everything random.
    """

    name: str
    bpp: float
    distortion: dict[str, float]
    channels: int = 0
    hific: dict[str, Any] = field(default_factory=dict)
    start: str = ""
    steps: int = 10_000
    batch: int = 8
    crop: int = 128
    zoom: float = 0.6
    rate: float = 1e-3
    muon: float = 6e-3
    warmup: int = 200
    steer: float = 2e-3
    weight: float = 400.0
    adversary_from: int = 0
    seed: int = 0


def load_plan(path: Path) -> Plan:
    """The plan in a TOML file. Raises CirbenchError for a missing file or an unknown key."""
    try:
        return Plan(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
        raise CirbenchError(f"{path} is not a training plan: {error}") from error


# ------------------------------------------------------------------------------------- photos


class Photos:
    """Random crops of all photos of some sources, decoded once and kept in memory."""

    def __init__(self, sources: Sequence[Source]) -> None:
        found = [one for source in sources for one in find(source)]
        if problems := [one.problem for one in found if one.problem]:
            raise CirbenchError(problems[0])
        self.files = [one.file for one in found]
        if not self.files:
            raise CirbenchError(f"there are no photos in {sources[0].root}")
        self.read = lru_cache(maxsize=None)(self._read)

    def _read(self, index: int) -> NDArray[np.uint8]:
        return images.read(self.files[index]).rgb

    def batch(self, plan: Plan, step: int) -> Tensor:
        """float32 (batch, 3, crop, crop) in [0, 1]; the same for the same seed and step."""
        random = np.random.default_rng([plan.seed, step])
        crops = [self._crop(plan, random) for _ in range(plan.batch)]
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous().float() / 255

    def _crop(self, plan: Plan, random: np.random.Generator) -> NDArray[np.uint8]:
        rgb = self.read(int(random.integers(len(self.files))))
        if min(rgb.shape[:2]) < plan.crop:
            raise CirbenchError(f"a photo is smaller than {plan.crop} pixels: leave it out")
        largest = min(plan.crop / plan.zoom, min(rgb.shape[:2]))
        side = round(random.uniform(plan.crop, largest))
        top, left = (int(random.integers(length - side + 1)) for length in rgb.shape[:2])
        crop = rgb[top : top + side, left : left + side]
        if side != plan.crop:
            small = Image.fromarray(crop).resize((plan.crop, plan.crop), Image.Resampling.LANCZOS)
            crop = np.asarray(small)
        crop = np.rot90(crop, int(random.integers(4)))
        return crop[:, ::-1] if random.integers(2) else crop


# ------------------------------------------------------------------------------------- codecs

Coded = tuple[Tensor, Tensor, Tensor]
"""Decoded crops (float32, (B, 3, H, W)), bits per pixel (a scalar), quantised latents."""


def _rounded(x: Tensor) -> Tensor:
    """Nearest integers, with the gradient of the identity."""
    return x + (x.round() - x).detach()


def _noisy(x: Tensor) -> Tensor:
    """What stands for rounding in the rate: uniform noise, whose density has a gradient."""
    return x + torch.rand_like(x) - 0.5


def _bits(*likelihoods: Tensor) -> Tensor:
    total = torch.stack([one.clamp_min(1e-9).log2().sum() for one in likelihoods])
    return -total.sum()


class Cheng(nn.Module):
    """Cheng2020 with attention, trained on what its bitstream will say.

    The context model is run twice: once on rounded latents to predict the means, once on latents
    rounded around those means, which is what the decoder will have. CompressAI's own training
    shows it noise instead.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.net = Cheng2020Attention(plan.channels)

    def forward(self, x: Tensor, fast: Callable[..., Tensor]) -> Coded:
        """``fast(module, input)`` runs a network in the arithmetic of the training."""
        net = self.net
        y = fast(net.g_a, x)
        z = fast(net.h_a, y)
        # Its own forward() would round around a median; the tables written at the end have none.
        z_likelihood = net.entropy_bottleneck(z)[1]
        params = fast(net.h_s, _rounded(z))

        def statistics(y_hat: Tensor) -> tuple[Tensor, Tensor]:
            context = fast(net.context_prediction, y_hat)
            both = fast(net.entropy_parameters, torch.cat((params, context), 1))
            scales, means = both.chunk(2, 1)
            return scales, means

        means = statistics(_rounded(y))[1]
        y_hat = _rounded(y - means) + means
        scales, means = statistics(y_hat)
        y_likelihood = net.gaussian_conditional._likelihood  # scales are clamped in it
        bits = _bits(y_likelihood(_noisy(y), scales, means), z_likelihood)
        return fast(net.g_s, y_hat), bits / (x.shape[0] * x.shape[2] * x.shape[3]), y_hat

    def weights(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """What is shipped: half-precision parameters and the integer tables made from them."""
        final = Cheng2020Attention(self.net.N)
        with torch.no_grad():
            for ours, trained in zip(final.parameters(), self.net.parameters(), strict=True):
                ours.copy_(trained.half())
        _set_quantiles(final.entropy_bottleneck)
        final.update()
        state = final.state_dict()
        # The loader makes the mask, and the Gaussians' tables: they are the same for all models.
        made = ("prediction.mask", "conditional._", "conditional.scale_table")
        state = {k: v for k, v in state.items() if not any(part in k for part in made)}
        return {k: v.half() if v.is_floating_point() else v.int() for k, v in state.items()}, {}


@torch.no_grad()
def _set_quantiles(bottleneck: Any, tail: float = 1e-5) -> None:
    """Where each hyper-latent's table starts and ends, by bisection on its learned density.

    The middle is a whole number, because the training rounded to whole numbers.
    """
    low = torch.full_like(bottleneck.quantiles, -1024.0)
    high = -low
    wanted = torch.tensor([tail / 2, 0.5, 1 - tail / 2]).logit()
    for _ in range(40):
        middle = (low + high) / 2
        below = bottleneck._logits_cumulative(middle, stop_gradient=True) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    high[:, :, 1] = high[:, :, 1].round()
    high[:, :, 0] = torch.minimum(high[:, :, 0], high[:, :, 1] - 1).floor()
    high[:, :, 2] = torch.maximum(high[:, :, 2], high[:, :, 1] + 1).ceil()
    bottleneck.quantiles.copy_(high)


class HiFiC(nn.Module):
    """HiFiC's encoder, hyperprior and generator."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        sizes = {k: tuple(v) if isinstance(v, list) else v for k, v in plan.hific.items()}
        self.net = hific_model.HiFiC(hific_model.Config(**sizes))
        self.floor = LowerBound(hific_model.MIN_SCALE)

    def forward(self, x: Tensor, fast: Callable[..., Tensor]) -> Coded:
        """As :meth:`Cheng.forward`."""
        net, prior = self.net, self.net.Hyperprior
        y = fast(net.Encoder, x * 2 - 1 if net.config.signed else x)
        z = fast(prior.analysis_net, y)
        z_hat = _rounded(z)
        means = fast(prior.synthesis_mu, z_hat)
        scales = self.floor(fast(prior.synthesis_std, z_hat))
        distance = (_noisy(y) - means).abs()
        # Both in the left tail, where differences of small numbers stay exact.
        inner, outer = (0.5 - distance) / scales, (-0.5 - distance) / scales
        y_likelihood = torch.special.ndtr(inner) - torch.special.ndtr(outer)
        bits = _bits(y_likelihood, self._density(_noisy(z)))
        y_hat = _rounded(y - means) + means
        image = fast(net.Generator, y_hat)
        if net.config.signed:
            image = (image.tanh() + 1) / 2
        return image, bits / (x.shape[0] * x.shape[2] * x.shape[3]), y_hat

    def _density(self, z: Tensor) -> Tensor:
        flat = z.transpose(0, 1).flatten(1)[:, None]
        logits = self.net.Hyperprior.hyperlatent_likelihood.logits
        upper, lower = logits(flat + 0.5), logits(flat - 0.5)
        sign = -(upper + lower).sign().detach()
        return (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()

    def weights(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """What is shipped: half-precision parameters, and the public ``args`` as metadata."""
        config = self.net.config
        args = {
            "latent_channels": config.latent,
            "n_residual_blocks": config.blocks,
            "normalize_input_image": config.signed,
            "likelihood_type": config.likelihood,
        }
        state = {key: value.half().contiguous() for key, value in self.net.state_dict().items()}
        return state, {"args": json.dumps(args)}


class Discriminator(nn.Module):
    """HiFiC's: patches of an image, given its latents; spectral norm (its appendix A, figure 11),
    with fewer channels."""

    def __init__(self, latent: int, widths: Sequence[int] = (24, 48, 96, 96)) -> None:
        super().__init__()
        self.given = spectral_norm(nn.Conv2d(latent, 12, 3, padding=1))
        before = [15, *widths[:-1]]
        pairs = zip(before, widths, strict=True)
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 4, 2, padding=1)) for a, b in pairs
        )
        self.last = spectral_norm(nn.Conv2d(widths[-1], 1, 1))

    def forward(self, both: Tensor) -> Tensor:
        """Logits, from an image (3 channels) and its upsampled latents (12 channels)."""
        for layer in self.layers:
            both = functional.leaky_relu(layer(both), 0.2)
        return self.last(both)  # type: ignore[no-any-return]

    def judge(self, image: Tensor, latents: Tensor, fast: Callable[..., Tensor]) -> Tensor:
        """Logits per patch that ``image`` is an original."""
        given = functional.leaky_relu(fast(self.given, latents.detach()), 0.2)
        given = functional.interpolate(given, size=image.shape[2:])
        return fast(self, torch.cat((image * 2 - 1, given), 1))


# -------------------------------------------------------------------------------- distortions


def distortions(x: Tensor, image: Tensor, wanted: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Each wanted distortion of ``image`` against ``x``, both (B, 3, H, W) in [0, 1]."""
    known = {"mse": functional.mse_loss, "ms_ssim": _ms_ssim, "texture": _texture}
    for name in wanted:
        if name != "adversary":
            yield name, known[name](image, x)


def _ms_ssim(image: Tensor, x: Tensor) -> Tensor:
    """1 - MS-SSIM; with a smaller window where five scales would not fit a crop."""
    window = 11 if min(x.shape[2:]) > 160 else 7
    return 1 - ms_ssim(image, x, data_range=1, win_size=window)  # type: ignore[no-any-return]


def _texture(image: Tensor, x: Tensor) -> Tensor:
    """Difference of gradient energy in 8x8 windows, at three scales.

    Says how much texture there must be, not where each line of it is: what blurring loses and
    what noise would overdo.
    """
    total = x.new_zeros(())
    for _ in range(3):
        total = total + (_energy(image) - _energy(x)).abs().mean()
        image, x = functional.avg_pool2d(image, 2), functional.avg_pool2d(x, 2)
    return total


def _energy(x: Tensor) -> Tensor:
    across = x[:, :, :-1, 1:] - x[:, :, :-1, :-1]
    down = x[:, :, 1:, :-1] - x[:, :, :-1, :-1]
    magnitude = (across.square() + down.square() + 1e-6).sqrt()
    return functional.avg_pool2d(magnitude, 8, 4)


# ----------------------------------------------------------------------------------- training


def _is_inner(p: nn.Parameter) -> bool:
    """Kernels of convolutions, but for those that take or give pixels."""
    return p.dim() == 4 and min(p.shape[:2]) > 3


class Run:
    """A training: networks, optimisers, lambda, and the step it is at."""

    def __init__(self, plan: Plan, photos: Photos, device: str = "cpu") -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.photos, self.device = plan, photos, device
        self.codec: Cheng | HiFiC = (HiFiC if plan.hific else Cheng)(plan)
        self.codec.to(device).train()
        # The bottleneck's quantiles are set when the weights are written.
        learnt = [p for name, p in self.codec.named_parameters() if "quantiles" not in name]
        self.muon = Muon([p for p in learnt if _is_inner(p)], plan.muon)
        self.adam = torch.optim.Adam([p for p in learnt if not _is_inner(p)], plan.rate)
        self.adversary: Discriminator | None = None
        if "adversary" in plan.distortion:
            assert isinstance(self.codec, HiFiC)
            self.adversary = Discriminator(self.codec.net.config.latent).to(device)
            self.adversary_adam = torch.optim.Adam(
                self.adversary.parameters(), plan.rate / 4, betas=(0.5, 0.9)
            )
        self.log_weight = math.log(plan.weight)
        self.step = 0

    def advance(self) -> dict[str, float]:
        """One gradient step; what it measured."""
        plan = self.plan
        torch.manual_seed(plan.seed * 1_000_003 + self.step)
        self._set_rate()
        x = self.photos.batch(plan, self.step).to(self.device)
        image, bpp, latents = self.codec(x, self._fast)
        found = dict(distortions(x, image, list(plan.distortion)))
        joined = self.adversary is not None and self.step >= plan.adversary_from
        if joined:
            assert self.adversary is not None
            self.adversary.requires_grad_(False)
            fake = self.adversary.judge(image, latents, self._fast)
            found["adversary"] = functional.softplus(-fake).mean()
        distortion = sum(plan.distortion[name] * value for name, value in found.items())
        loss = bpp + math.exp(self.log_weight) * distortion
        if not torch.isfinite(loss):
            raise CirbenchError(f"{plan.name}: the loss is {float(loss)} at step {self.step}")
        self.codec.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.codec.parameters(), 5.0)
        self.adam.step()
        self.muon.step()
        measured = {"bpp": float(bpp.detach()), "lambda": math.exp(self.log_weight)}
        measured |= {name: float(value.detach()) for name, value in found.items()}
        measured["psnr"] = -10 * math.log10(float(functional.mse_loss(image.detach(), x)))
        if joined:
            measured["discriminator"] = self._teach(x, image.detach(), latents)
        over = min(max(measured["bpp"] / plan.bpp - 1, -0.5), 1.0)
        self.log_weight -= plan.steer * over
        self.step += 1
        return measured

    def _teach(self, x: Tensor, fake: Tensor, latents: Tensor) -> float:
        """One step of the discriminator; its loss."""
        assert self.adversary is not None
        self.adversary.requires_grad_(True)
        real_logits = self.adversary.judge(x, latents, self._fast)
        fake_logits = self.adversary.judge(fake, latents, self._fast)
        loss = functional.softplus(-real_logits).mean() + functional.softplus(fake_logits).mean()
        self.adversary_adam.zero_grad(set_to_none=True)
        loss.backward()
        self.adversary_adam.step()
        return float(loss.detach())

    def _fast(self, module: nn.Module, x: Tensor) -> Tensor:
        """Convolutions in bfloat16, which are twice as fast where the CPU has it."""
        with torch.autocast(self.device, dtype=torch.bfloat16):
            result = module(x)
        return result.float()  # type: ignore[no-any-return]

    def _set_rate(self) -> None:
        plan = self.plan
        grown = min(1.0, (self.step + 1) / plan.warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / plan.steps))
        factor = grown * (0.01 + 0.99 * cosine)
        self.adam.param_groups[0]["lr"] = plan.rate * factor
        self.muon.param_groups[0]["lr"] = plan.muon * factor
        if self.adversary is not None:
            self.adversary_adam.param_groups[0]["lr"] = plan.rate / 4 * factor

    def state(self) -> dict[str, Any]:
        """All that a checkpoint has to hold."""
        state = {
            "step": self.step,
            "log_weight": self.log_weight,
            "codec": self.codec.state_dict(),
            "adam": self.adam.state_dict(),
            "muon": self.muon.state_dict(),
        }
        if self.adversary is not None:
            state["adversary"] = self.adversary.state_dict()
            state["adversary_adam"] = self.adversary_adam.state_dict()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.step, self.log_weight = state["step"], state["log_weight"]
        self.codec.load_state_dict(state["codec"])
        self.adam.load_state_dict(state["adam"])
        self.muon.load_state_dict(state["muon"])
        if self.adversary is not None:
            self.adversary.load_state_dict(state["adversary"])
            self.adversary_adam.load_state_dict(state["adversary_adam"])

    def start_from(self, state: dict[str, Any]) -> None:
        """Take over the networks of a finished model; residual blocks that it has more are left."""
        mine = self.codec.state_dict()
        self.codec.load_state_dict({key: state["codec"][key] for key in mine})
        if self.adversary is not None and "adversary" in state:
            self.adversary.load_state_dict(state["adversary"])


def run(
    plan: Plan,
    photos: Photos,
    folder: Path,
    start: Path | None = None,
    until: float = math.inf,
    every: int = 500,
    device: str = "cpu",
    say: Callable[[str], None] = print,
) -> Path | None:
    """Train, going on from the checkpoint in ``folder`` if there is one.

    Args:
        start: checkpoint of the model to start from, for a plan that names one.
        until: :func:`time.monotonic` at which to save and stop.
        every: steps between checkpoints; log lines are means over 50 steps.

    Returns the weight file, or None when time ran out first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, log = folder / "checkpoint.pt", folder / "log.jsonl"
    training = Run(plan, photos, device)
    if checkpoint.exists():
        training.restore(torch.load(checkpoint, weights_only=True))
        _truncate(log, training.step)
        say(f"{plan.name}: going on at step {training.step}")
    elif plan.start:
        if start is None or not start.exists():
            raise CirbenchError(f"{plan.name} starts from {plan.start}: train that first")
        training.start_from(torch.load(start, weights_only=True))
    recent: list[dict[str, float]] = []
    began = time.monotonic()
    while training.step < plan.steps:
        recent.append(training.advance())
        if training.step % 50 == 0 or training.step == plan.steps:
            means = {
                key: round(sum(r[key] for r in recent) / len(recent), 5)
                for key in recent[-1]
                if all(key in r for r in recent)
            }
            seconds = (time.monotonic() - began) / len(recent)
            line = json.dumps({"step": training.step, **means, "seconds": round(seconds, 3)})
            with log.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            recent, began = [], time.monotonic()
            if training.step % 500 == 0:
                say(f"{plan.name} {line}")
        stop = time.monotonic() > until
        if training.step % every == 0 or training.step == plan.steps or stop:
            _save(training.state(), checkpoint)
        if stop and training.step < plan.steps:
            say(f"{plan.name}: stopped at step {training.step}; run it again to go on")
            return None
    return write_weights(training.codec, folder / f"{plan.name}.safetensors")


def write_weights(codec: Cheng | HiFiC, path: Path) -> Path:
    """The weight file of a trained model."""
    tensors, metadata = codec.cpu().weights()
    save_file(tensors, path, metadata)
    return path


def _save(state: dict[str, Any], path: Path) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def _truncate(log: Path, step: int) -> None:
    """Drop what was logged after the checkpoint."""
    if log.exists():
        lines = log.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        log.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


@click.command()
@click.argument("plans", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--photos",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of photos; may be given again.  [default: the sample photos]",
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--minutes", type=float, default=math.inf, help="Save and stop after so long.")
@click.option("--threads", type=int, default=0, help="Of torch.  [default: its own choice]")
@click.option("--device", default="cpu", show_default=True)
@click.option("--smoke", is_flag=True, help="Two steps of a tiny version, to see that it runs.")
def main(
    plans: tuple[Path, ...],
    folders: tuple[Path, ...],
    out: Path,
    minutes: float,
    threads: int,
    device: str,
    smoke: bool,
) -> None:
    """Train the models of PLANS, one after the other, each into OUT/NAME/.

    Started again, it goes on where it was.
    """
    if threads:
        torch.set_num_threads(threads)
    until = time.monotonic() + 60 * minutes
    try:
        photos = Photos([Source("train", folder, "") for folder in folders] or [sample_source()])
        for path in plans:
            plan = load_plan(path)
            start = (
                out / load_plan(path.with_name(plan.start)).name / "checkpoint.pt"
                if plan.start
                else None
            )
            if smoke:
                plan, start = tiny(plan), None
            made = run(plan, photos, out / plan.name, start, until, device=device, say=click.echo)
            if made is None:
                return
            click.echo(f"wrote {made}, {made.stat().st_size:,} bytes")
    except CirbenchError as error:
        raise click.ClickException(str(error)) from error


def tiny(plan: Plan) -> Plan:
    """The same model with few channels, for two steps."""
    small = {"encoder": [8] * 5, "generator": [8] * 5, "latent": 8, "hyper": 8, "blocks": 1}
    return replace(
        plan,
        start="",
        steps=2,
        batch=2,
        adversary_from=1,
        channels=plan.channels and 8,
        hific=plan.hific and plan.hific | small,
    )


if __name__ == "__main__":
    main()
