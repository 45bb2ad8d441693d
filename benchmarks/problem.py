"""One case's inputs: the batch, and the dictionary that all contestants share."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

DICTIONARY = "random unit vectors, which is what a coder of any of these libraries starts from"


@dataclass(frozen=True)
class Case:
    """Shapes to measure at."""

    tokens: int
    latents: int
    k: int


@dataclass(frozen=True)
class Problem:
    """Inputs of one training step."""

    x_BD: Tensor
    W_MD: Tensor
    """Unit rows; encoder and decoder of every contestant."""
    b_dec_D: Tensor
    """The batch's mean."""
    k: int

    @property
    def variance(self) -> float:
        """`Σ‖x − x̄‖²`, the denominator of FVU."""
        return float((self.x_BD.double() - self.x_BD.double().mean(dim=0)).pow(2).sum())


def distinct_tokens(rows: int, tokens: int) -> int:
    """How many different tokens a batch holds when the activations have that many rows."""
    return min(tokens, rows)


def make_problem(activations_ND: Tensor, case: Case, device: torch.device) -> Problem:
    """The case's inputs: a function of the activations and the case. Too few tokens are repeated."""
    rows, width = activations_ND.shape
    x_BD = activations_ND[torch.arange(case.tokens) % rows]
    W_MD = normalize(torch.randn(case.latents, width, generator=torch.Generator().manual_seed(0)), dim=1)
    x_BD, W_MD = x_BD.to(device), W_MD.to(device)
    return Problem(x_BD, W_MD, x_BD.mean(dim=0), case.k)
