"""Triton kernels: what `kernels` runs on float32 CUDA tensors, and on CPU tensors under Triton's interpreter."""

import torch
from torch import Tensor

from kernels.devices import sheet_at
from kernels.forms import Rates
from kernels.gpu import mp_recompute as _recompute
from kernels.gpu import mp_update as _update
from kernels.gpu import topk as _topk
from kernels.gpu.mp_backward import pursuit_backward
from kernels.gpu.rows import add_outer_, row_products, weighted_rows
from kernels.rules import Rules

__all__ = [
    "add_outer_", "gram", "gram_dtype", "pursue", "pursuit_backward", "rates", "row_products", "topk_select",
    "weighted_rows",
]  # fmt: skip


def rates(like: Tensor) -> Rates:
    """Costs of the forms for tensors like this one."""
    return sheet_at(like.device).rates


def gram_dtype(like: Tensor, operands: torch.dtype | None) -> torch.dtype:
    """dtype of H: float16 has eight times bfloat16's resolution, and H of unit rows needs no range."""
    return operands or torch.float16


def gram(W_dec_MD: Tensor, W_enc_MD: Tensor, operands: torch.dtype | None) -> Tensor:
    """`W_dec W_encᵀ`, [M, M], in the dtype that `pursue` wants."""
    dtype = gram_dtype(W_dec_MD, operands)
    return W_dec_MD.to(dtype) @ W_enc_MD.to(dtype).T


def pursue(
    form: str,
    r0_BD: Tensor,
    W_enc_MD: Tensor,
    b_enc_M: Tensor | None,
    W_dec: Tensor,
    gram_MM: Tensor | None,
    rules: Rules,
    operands: torch.dtype | None,
    excluded_B: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Activations [B, k], indices [B, k] and last residual [B, D] by the given form. Raises ValueError without it."""
    if form == "screen":
        raise ValueError("form is 'screen', which runs on CPU only; expected 'auto', 'update' or 'recompute'")
    if form == "recompute" or gram_MM is None:
        dtype = operands or torch.bfloat16
        return _recompute.select_by_recompute(r0_BD, W_enc_MD, b_enc_M, W_dec, rules, dtype, excluded_B)
    return _update.select_by_update(r0_BD, W_enc_MD, b_enc_M, W_dec, gram_MM, rules, excluded_B)


def topk_select(
    x_BD: Tensor, W_enc_MD: Tensor, b_enc_M: Tensor | None, k: int, operands: torch.dtype | None
) -> tuple[Tensor, Tensor]:
    """Activations [B, k], rectified and descending, and indices [B, k]."""
    return _topk.topk_select(x_BD, W_enc_MD, b_enc_M, k, operands or torch.bfloat16)
