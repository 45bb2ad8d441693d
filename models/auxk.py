"""AuxK, the loss that revives dead latents (Gao et al. 2024, arXiv 2406.04093, appendix A.2).

Shape suffixes: B tokens, D input width, M latents, L dead latents.
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
    dead_L: Tensor,
    W_enc_MD: Tensor,
    b_enc_M: Tensor | None,
    decode: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Squared error, scalar, of predicting the reconstruction's error from the best of the dead latents.

    `dead_L` are their indices, int64, at least one; they are scored on `unexplained_BD`, and `decode(acts, indices)`
    gives what they add to the output, without a bias, in the units of `error_BD`. `size_B` is the norm of the inputs
    that `unexplained_BD` was computed from, in its units. The inputs may not carry a gradient: the loss is there to
    move dead latents, not what living ones leave over.
    """
    half_width = error_BD.shape[1] // 2 or 1
    bias = None if b_enc_M is None else b_enc_M[dead_L]
    acts, positions = topk_encode(unexplained_BD, W_enc_MD[dead_L], bias, min(half_width, len(dead_L)))
    # What a pursuit left over is at right angles to the rows it subtracted, dead ones that fire again among them: their
    # scores are 0 up to rounding, and a gradient must not depend on whether that came out above 0.
    rounding_B = ROUNDING * torch.finfo(acts.dtype).eps * size_B
    acts = torch.where(acts > rounding_B[:, None], acts, 0.0)
    few_dead = min(1.0, len(dead_L) / half_width)  # a handful of dead latents should not dominate
    return few_dead * (decode(acts, dead_L[positions]) - error_BD).pow(2).sum()
