"""A training and its steps: losses, optimisers, the lambda that follows the rate.

Everything random in a step comes from (seed, step).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mini_networks import Cheng, Discriminator, HiFiC
from mini_plan import Photos, Plan
from pytorch_msssim import ms_ssim
from torch import Tensor, nn
from torch.nn import functional

from cirbench.errors import CirbenchError
from cirbench.train.optimizer import Muon


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
