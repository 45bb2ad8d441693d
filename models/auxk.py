"""AuxK, the loss that revives dead latents (Gao et al. 2024, arXiv 2406.04093, appendix A.2).

Shape suffixes: B tokens, D input width, M latents, L dead latents.
"""

from collections.abc import Callable

from torch import Tensor

from kernels import topk_encode


def auxk_loss(
    unexplained_BD: Tensor,
    error_BD: Tensor,
    dead_L: Tensor,
    W_enc_MD: Tensor,
    b_enc_M: Tensor | None,
    decode: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Squared error, scalar, of predicting the reconstruction's error from the best of the dead latents.

    `dead_L` are their indices, int64, at least one; they are scored on `unexplained_BD`, and `decode(acts, indices)`
    gives what they add to the output, without a bias, in the units of `error_BD`. The two inputs may not carry a
    gradient: the loss is there to move dead latents, not what living ones leave over.
    """
    half_width = error_BD.shape[1] // 2 or 1
    bias = None if b_enc_M is None else b_enc_M[dead_L]
    acts, positions = topk_encode(unexplained_BD, W_enc_MD[dead_L], bias, min(half_width, len(dead_L)))
    few_dead = min(1.0, len(dead_L) / half_width)  # a handful of dead latents should not dominate
    return few_dead * (decode(acts, dead_L[positions]) - error_BD).pow(2).sum()
