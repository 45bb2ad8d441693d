"""TopK encode: `a = TopK_k(relu(W_enc x + b_enc))` (Gao et al. 2024, arXiv 2406.04093, eq. 2)."""

from typing import Any

import torch
from torch import Tensor

from kernels.checks import check_alike, check_k, check_matrix, check_vector
from kernels.rows import CHUNK_TOKENS, add_outer_, chunks, weighted_rows


class _TopKEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BD: Tensor, W_enc_MD: Tensor, b_enc_M: Tensor, k: int) -> tuple[Tensor, Tensor]:
        acts_BK = x_BD.new_empty(x_BD.shape[0], k)
        indices_BK = torch.empty(x_BD.shape[0], k, dtype=torch.int64, device=x_BD.device)
        for rows in chunks(x_BD.shape[0], CHUNK_TOKENS):
            scores_TM = torch.addmm(b_enc_M, x_BD[rows], W_enc_MD.T)
            acts_BK[rows], indices_BK[rows] = scores_TM.topk(k, dim=1)
        acts_BK.clamp_(min=0)
        ctx.save_for_backward(x_BD, W_enc_MD, acts_BK, indices_BK)
        ctx.mark_non_differentiable(indices_BK)
        return acts_BK, indices_BK

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x_BD, W_enc_MD, acts_BK, indices_BK = ctx.saved_tensors
        grad_pre_BK = torch.where(acts_BK > 0, grads[0], 0.0)
        grad_x = grad_W = grad_b = None
        if ctx.needs_input_grad[0]:
            grad_x = weighted_rows(grad_pre_BK, indices_BK, W_enc_MD)
        if ctx.needs_input_grad[1]:
            grad_W = torch.zeros_like(W_enc_MD)
            add_outer_(grad_W, indices_BK, grad_pre_BK, x_BD)
        if ctx.needs_input_grad[2]:
            grad_b = W_enc_MD.new_zeros(W_enc_MD.shape[0])
            grad_b.index_add_(0, indices_BK.flatten(), grad_pre_BK.flatten())
        return grad_x, grad_W, grad_b, None


def topk_encode(x: Tensor, W_enc: Tensor, b_enc: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Keep each token's k largest rectified pre-activations.

    Args:
        x: centred input, [B, D], float32 or float64.
        W_enc: encoder, rows are latents, [M, D].
        b_enc: encoder bias, [M].
        k: active latents per token, 1 to M.

    Returns:
        acts [B, k] (descending, 0 where fewer than k are positive) and indices [B, k] int64; `acts` is
        differentiable in `x`, `W_enc` and `b_enc`.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, naming the argument.
    """
    check_matrix("x", x)
    check_matrix("W_enc", W_enc, columns=x.shape[1])
    check_vector("b_enc", b_enc, W_enc.shape[0])
    check_alike(x=x, W_enc=W_enc, b_enc=b_enc)
    check_k(k, W_enc.shape[0])
    acts, indices = _TopKEncode.apply(x, W_enc, b_enc, k)  # type: ignore[no-untyped-call]
    return acts, indices
