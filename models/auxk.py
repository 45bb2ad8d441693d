"""AuxK, the loss that revives dead latents (Gao et al. 2024, arXiv 2406.04093, appendix A.2).

Shape suffixes: B tokens, D input width, M latents, L dead latents, K best of them.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from kernels import topk_encode

ROUNDING = 32
"""Scores below this many units of rounding of the input's norm count as 0."""


def auxk_loss(
    unexplained_BD: Tensor,
    error_BD: Tensor,
    size_B: Tensor,
    dead_M: Tensor,
    W_enc_MD: Tensor,
    b_enc_M: Tensor | None,
    decode: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Squared error, scalar, of predicting the reconstruction's error from the best of the dead latents.

    `dead_M`, bool, says which those are, one or more on a CPU. They are scored on `unexplained_BD`, and
    `decode(acts, indices)` gives what they add to the output, without a bias, in the units of `error_BD`. `size_B` is
    the norm of the inputs that `unexplained_BD` was computed from, in its units. The inputs may not carry a gradient:
    the loss is there to move dead latents, not what living ones leave over.
    """
    half_width = error_BD.shape[1] // 2 or 1
    best = best_of_dead if dead_M.is_cuda else best_of_few_dead
    acts, indices = best(unexplained_BD, W_enc_MD, b_enc_M, dead_M, half_width)
    # What a pursuit left over is at right angles to the rows it subtracted, dead ones that fire again among them: their
    # scores are 0 up to rounding, and a gradient must not depend on whether that came out above 0.
    rounding_B = ROUNDING * torch.finfo(acts.dtype).eps * size_B
    acts = torch.where(acts > rounding_B[:, None], acts, 0.0)
    few_dead = (dead_M.sum().to(acts.dtype) / half_width).clamp(max=1.0)  # a handful of them should not dominate
    return few_dead * (decode(acts, indices) - error_BD).pow(2).sum()


def best_of_few_dead(
    x_BD: Tensor, W_enc_MD: Tensor, b_enc_M: Tensor | None, dead_M: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Activations and indices [B, K] of the dead latents, which are scored alone; up to `count` of them."""
    dead_L = dead_M.nonzero()[:, 0]
    bias = None if b_enc_M is None else b_enc_M[dead_L]
    acts, positions = topk_encode(x_BD, W_enc_MD[dead_L], bias, min(count, len(dead_L)))
    return acts, dead_L[positions]


def best_of_dead(
    x_BD: Tensor, W_enc_MD: Tensor, b_enc_M: Tensor | None, dead_M: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """The same among the scores of all latents, so that a GPU need not be asked how many are dead.

    float32 products throughout: the search in lower precision doubts every token whose best latents are ruled out.
    """
    bias_M = W_enc_MD.new_zeros(len(W_enc_MD)) if b_enc_M is None else b_enc_M
    bias_M = torch.where(dead_M, bias_M, float("-inf"))
    return topk_encode(x_BD, W_enc_MD, bias_M, min(count, len(W_enc_MD)), operands=torch.float32)
