"""The router of the mixture of prompts (paper 3.2, eq. 3).

``G(x) = TopK(Softmax(x W_g + N(0, 1) * Softplus(x W_noise)))``. Kept as the paper writes it and the
release runs it: the gates that stay are *not* renormalised, both matrices are one bias-free
linear layer that starts at zero, and 0.01 is added to the noise's deviation so that it never dies.
Unlike the release: there is one router for all images (no task goes in), and noise is for training
only.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

NOISE_FLOOR = 0.01


class Routing(NamedTuple):
    """What a router decided.

    Attributes:
        gates: (B, T, N) in [0, 1]: the weight of each prompt, 0 where it was not chosen. T is 1
            when routing per image.
        probabilities: (B, T, N): the softmax before the choice; rows add up to 1.
    """

    gates: Tensor
    probabilities: Tensor


class Router(nn.Module):
    """Eq. (3).

    Args:
        dim: width D of a token.
        experts: number N of basic prompts.
        top_k: how many are kept; ``experts`` keeps all.
        per_image: decide once for an image, from the mean of its tokens, instead of per token.
        noisy: add noise in training (the ``multiple`` ablation has none).
    """

    def __init__(
        self, dim: int, experts: int, top_k: int, *, per_image: bool = False, noisy: bool = True
    ) -> None:
        super().__init__()
        self.top_k, self.per_image, self.noisy = top_k, per_image, noisy
        self.gate = nn.Linear(dim, 2 * experts if noisy else experts, bias=False)
        nn.init.zeros_(self.gate.weight)

    def forward(self, tokens: Tensor, noise: Tensor | None = None) -> Routing:
        """Choose prompts.

        Args:
            tokens: (B, T, D).
            noise: N(0, 1) values (B, T or 1, N) for training; drawn from torch's generator when
                None. Ignored in evaluation mode.
        """
        if self.per_image:
            tokens = tokens.mean(1, keepdim=True)
        logits = self.gate(tokens)
        if self.noisy:
            logits, deviation = logits.chunk(2, dim=-1)
            if self.training:
                noise = torch.randn_like(logits) if noise is None else noise
                logits = logits + noise * (functional.softplus(deviation) + NOISE_FLOOR)
        probabilities = logits.softmax(-1)
        kept, chosen = probabilities.topk(self.top_k, dim=-1)
        return Routing(torch.zeros_like(probabilities).scatter(-1, chosen, kept), probabilities)


def balance_loss(routing: Routing) -> Tensor:
    """How unevenly a batch uses the prompts: a scalar, 1 when evenly, N when it uses only one.

    ``N * sum_i f_i P_i`` (Fedus et al. 2021, "Switch Transformers", eq. 4): f_i is the share of
    choices that fell on prompt i, P_i its mean probability. Not in the paper.
    """
    share = (routing.gates > 0).to(routing.probabilities.dtype).flatten(0, 1).mean(0)
    mean = routing.probabilities.flatten(0, 1).mean(0)
    return len(mean) * (share / share.sum() * mean).sum()


def load(routing: Routing) -> Tensor:
    """Share of each image's tokens that chose each prompt: (B, N), rows add up to K; no gradient.

    For the router report; computing it changes nothing.
    """
    return (routing.gates.detach() > 0).float().mean(1)
