"""Sparse decode: `ŷ = Σ_i a_i W_dec[j_i]`, the decoder half of every sparse coder."""

from typing import Any

import torch
from torch import Tensor

from kernels.checks import check_alike, check_matrix
from kernels.rows import add_outer_, row_products, weighted_rows


class _SparseDecode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, acts_BK: Tensor, indices_BK: Tensor, W_dec_MD: Tensor) -> Tensor:
        ctx.save_for_backward(acts_BK, indices_BK, W_dec_MD)
        return weighted_rows(acts_BK, indices_BK, W_dec_MD)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        acts_BK, indices_BK, W_dec_MD = ctx.saved_tensors
        grad_BD = grads[0].contiguous()
        grad_acts = grad_W = None
        if ctx.needs_input_grad[0]:
            grad_acts = row_products(grad_BD, indices_BK, W_dec_MD)
        if ctx.needs_input_grad[2]:
            grad_W = torch.zeros_like(W_dec_MD)
            add_outer_(grad_W, indices_BK, acts_BK, grad_BD)
        return grad_acts, None, grad_W


def sparse_decode(acts: Tensor, indices: Tensor, W_dec: Tensor) -> Tensor:
    """Sum the decoder rows of each token's active latents.

    Args:
        acts: activations, [B, K], float32 or float64.
        indices: latent of each activation, [B, K], int64 in [0, M).
        W_dec: decoder, rows are latents, [M, D].

    Returns:
        [B, D]; differentiable in `acts` and `W_dec`. No bias is added.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, naming the argument.
    """
    check_matrix("W_dec", W_dec)
    check_matrix("acts", acts)
    check_alike(W_dec=W_dec, acts=acts)
    if indices.shape != acts.shape or indices.dtype != torch.int64:
        raise ValueError(
            f"indices is {indices.dtype} of shape {list(indices.shape)}; expected torch.int64 of {list(acts.shape)}"
        )
    out: Tensor = _SparseDecode.apply(acts, indices, W_dec)  # type: ignore[no-untyped-call]
    return out
