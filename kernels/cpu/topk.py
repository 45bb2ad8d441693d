"""The k best latents of each token on CPU."""

import torch
from torch import Tensor

from kernels.cpu.compiled import topk_select as _topk_compiled
from kernels.cpu.operands import check_operands
from kernels.cpu.rows import CHUNK_TOKENS, chunks, extension_serves

LATENTS_PER_K = 64
"""The compiled path is for k up to M / LATENTS_PER_K: beyond, most latents would be scored twice."""


def topk_select(
    x_BD: Tensor, W_enc_MD: Tensor, b_enc_M: Tensor | None, k: int, operands: torch.dtype | None
) -> tuple[Tensor, Tensor]:
    """Activations [B, k], rectified and descending, and indices [B, k]."""
    check_operands(operands)
    if extension_serves(x_BD) and k * LATENTS_PER_K <= W_enc_MD.shape[0]:
        return _topk_compiled(x_BD, W_enc_MD, b_enc_M, k, operands)
    acts_BK = x_BD.new_empty(x_BD.shape[0], k)
    indices_BK = torch.empty(acts_BK.shape, dtype=torch.int64, device=x_BD.device)
    for rows in chunks(x_BD.shape[0], CHUNK_TOKENS):
        scores_TM = x_BD[rows] @ W_enc_MD.T if b_enc_M is None else torch.addmm(b_enc_M, x_BD[rows], W_enc_MD.T)
        acts_BK[rows], indices_BK[rows] = scores_TM.topk(k, dim=1)
    return acts_BK.clamp_(min=0), indices_BK
