"""Scores before a pursuit's first step, for its update form, and how far those of later steps may err."""

import torch
from torch import Tensor

from kernels.gpu.common import ROUNDING


def first_scores(r0_TD: Tensor, W_enc_MD: Tensor, b_enc_M: Tensor | None, gram_dtype: torch.dtype) -> Tensor:
    """`r_0 W_encᵀ + b`, [T, M] float32. Where H has 16 bits a GPU rounds the operands to TF32, which has as many as H.

    On an H200 that takes 1.0 ms instead of 7.1 for 8,448 tokens, M = 36,864, D = 576 (benchmarks/results/h200.md).
    """
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    products.fp32_precision = "tf32" if gram_dtype.itemsize == 2 else "ieee"
    try:
        return r0_TD @ W_enc_MD.T if b_enc_M is None else torch.addmm(b_enc_M, r0_TD, W_enc_MD.T)
    finally:
        products.fp32_precision = before


def error_scale_of(W_enc_MD: Tensor, W_dec_MD: Tensor, gram_dtype: torch.dtype) -> Tensor:
    """Rounding of a score per unit of √(‖r_0‖² + Σ (a_i ‖W_dec[j_i]‖)²), and the largest ‖W_dec[j]‖²; [2].

    Each update rounds H to half a unit in the last place, independently: their sum grows as the root of the sum of
    squares. The bound takes the largest row norms and parallel rows, so it is many standard deviations wide. No
    product is taken to be more exact than TF32, which torch may be set to use wherever operands are float32.
    """
    unit = 2 * max(ROUNDING[gram_dtype], ROUNDING[torch.float16])
    encoder, decoder = (torch.linalg.vector_norm(W, dim=1).amax() for W in (W_enc_MD, W_dec_MD))
    return torch.stack((unit * encoder, decoder.square()))
