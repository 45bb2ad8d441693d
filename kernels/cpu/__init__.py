"""What `kernels` runs on CPU tensors, and on any tensor that the Triton kernels do not take (float64).

float32 goes through a small compiled extension where a C compiler is at hand; everything else through torch alone.
"""

import torch
from torch import Tensor

from kernels.cpu import compiled as _compiled
from kernels.cpu import plain as _plain
from kernels.cpu.operands import check_operands, operand_dtype, screening_dtype
from kernels.cpu.rows import add_outer_, extension_serves, row_products, weighted_rows
from kernels.cpu.sweep import pursuit_backward
from kernels.cpu.topk import topk_select
from kernels.forms import Rates
from kernels.rules import Rules

__all__ = [
    "add_outer_",
    "gram",
    "gram_dtype",
    "pursue",
    "pursuit_backward",
    "rates",
    "row_products",
    "topk_select",
    "weighted_rows",
]

PLAIN_UPDATE_FLOPS = 30.0
"""0.35 ns at 83 Gflop/s of float32 (Zen 4 core)."""
COMPILED_UPDATE_FLOPS = 60.0
"""0.3 ns at 190 Gflop/s of bfloat16 (Zen 4 core)."""
LARGE_GRAM_GAIN = 2.5
"""What an H above 256 MiB must save. Without it a step over 2,048 tokens at M = 18,432 takes 130 MiB beside the
weights, with it 800. At k = 16 and 16,384 tokens the model says 2.6; measured: 38.3 core-seconds, with it 16.7."""
COMPILED_SCREEN = (0.25, 200.0)
"""All scores at every third to sixth step; 1.1 ns per latent and step for the rest, at M = 4,608 to 18,432."""


def rates(like: Tensor) -> Rates:
    """Costs of the forms for tensors like this one."""
    if extension_serves(like):
        itemsize = operand_dtype().itemsize
        return Rates(
            update=COMPILED_UPDATE_FLOPS,
            screen=COMPILED_SCREEN,
            recompute=None,
            gram_itemsize=itemsize,
            large_gram_gain=LARGE_GRAM_GAIN,
        )
    return Rates(update=PLAIN_UPDATE_FLOPS, gram_itemsize=like.element_size())


def gram_dtype(like: Tensor, operands: torch.dtype | None) -> torch.dtype:
    """dtype of H for tensors like this one."""
    check_operands(operands)
    return operands or operand_dtype() if extension_serves(like) else like.dtype


def gram(W_dec_MD: Tensor, W_enc_MD: Tensor, operands: torch.dtype | None) -> Tensor:
    """`W_dec W_encᵀ`, [M, M], in the dtype that `pursue` wants."""
    if extension_serves(W_dec_MD):
        return _compiled.gram_of(W_dec_MD, W_enc_MD, gram_dtype(W_dec_MD, operands))
    return W_dec_MD @ W_enc_MD.T


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
    if extension_serves(r0_BD) and form != "recompute":
        check_operands(operands)
        dtype = operands or operand_dtype()
        if form == "screen":
            dtype = operands or screening_dtype(r0_BD.shape[1])
            return _compiled.select_by_screening(r0_BD, W_enc_MD, b_enc_M, W_dec, rules, dtype, excluded_B)
        return _compiled.select_by_update(r0_BD, W_enc_MD, b_enc_M, W_dec, _given(gram_MM), rules, dtype, excluded_B)
    if form == "screen":
        raise ValueError("form is 'screen', which needs float32 on a CPU and a C compiler; expected another form")
    if form == "recompute":
        return _plain.select_by_recompute(r0_BD, W_enc_MD, b_enc_M, W_dec, rules, excluded_B)
    return _plain.select_by_update(r0_BD, W_enc_MD, b_enc_M, W_dec, _given(gram_MM), rules, excluded_B)


def _given(gram_MM: Tensor | None) -> Tensor:
    if gram_MM is None:
        raise RuntimeError("the update form was started without gram")
    return gram_MM
