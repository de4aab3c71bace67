"""The basic prompts of one scale and how they act on the features (paper 3.2, eq. 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Prompts(nn.Module):
    """N matrices (D, D); a token is multiplied by the mixture of those it was routed to.

    Args:
        experts: N.
        dim: D.
    """

    def __init__(self, experts: int, dim: int) -> None:
        super().__init__()
        # Deviation 1/sqrt(D): a product has the size of the token.
        self.matrices = nn.Parameter(torch.randn(experts, dim, dim) * dim**-0.5)

    def forward(self, tokens: Tensor, gates: Tensor | None = None) -> Tensor:
        """Eq. (1): ``sum_i gates_i * (token @ matrix_i)``.

        Args:
            tokens: (B, T, D).
            gates: (B, T, N) or (B, 1, N); None gives every prompt the weight 1.

        Returns:
            (B, T, D).
        """
        result = torch.zeros_like(tokens)
        for index, matrix in enumerate(self.matrices):
            product = tokens @ matrix
            result = result + (product if gates is None else product * gates[..., index, None])
        return result
