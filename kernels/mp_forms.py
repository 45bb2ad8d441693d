"""The two exact ways to run the k steps of matching pursuit forward, and the cost model that picks one.

recompute: a matrix product per step, `2·B·K·M·D` flops.
update: with `H = W_dec W_encᵀ` the scores obey `s ← s − a·H[j]`, so one product at the start and then K row
updates bound by memory; H itself costs `2·M²·D` flops and `M²` numbers.
"""

import logging
from typing import Literal

import torch
from torch import Tensor

from kernels.rows import CHUNK_TOKENS, chunks, row_argmax

Form = Literal["auto", "update", "recompute"]

UPDATE_CHUNK_TOKENS = 64
"""Tokens whose score rows are updated together: 64 × 4,608 fp32 scores stay in a CPU core's cache."""
UPDATE_FLOPS_PER_SCORE = 30
"""What one score update and its share of the argmax cost, in matrix-product flops: 0.35 ns at 83 GFLOP/s (Zen 4)."""
GRAM_BYTES_LIMIT = 4 << 30
"""H larger than this is never built."""

log = logging.getLogger(__name__)
_announced: set[tuple[object, ...]] = set()


def form_flops(tokens: int, k: int, num_latents: int, width: int, itemsize: int) -> dict[Form, float]:
    """Cost of each form that can hold these shapes, in flops of a matrix product."""
    costs: dict[Form, float] = {"recompute": 2.0 * tokens * k * num_latents * width}
    if num_latents**2 * itemsize <= GRAM_BYTES_LIMIT:
        products = 2.0 * num_latents * width * (num_latents + tokens)
        costs["update"] = products + UPDATE_FLOPS_PER_SCORE * tokens * k * num_latents
    return costs


def choose_form(tokens: int, k: int, num_latents: int, width: int, itemsize: int) -> Form:
    """The cheaper form for these shapes, logged once per shape."""
    costs = form_flops(tokens, k, num_latents, width, itemsize)
    form = min(costs, key=costs.__getitem__)
    key = (form, tokens, k, num_latents, width)
    if key not in _announced:
        _announced.add(key)
        shapes = f"B={tokens} k={k} M={num_latents} d={width}"
        log.info("matching pursuit: %s form for %s; flops of each: %s", form, shapes, costs)
    return form


def select_by_update(
    r0_BD: Tensor, W_enc_MD: Tensor, b_enc_M: Tensor, gram_MM: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """Activations [B, k] and indices [B, k] by updating scores with rows of `gram_MM = W_dec W_encᵀ`."""
    tokens = r0_BD.shape[0]
    acts_BK = r0_BD.new_empty(tokens, k)
    indices_BK = torch.empty(tokens, k, dtype=torch.int64, device=r0_BD.device)
    rows_TM = r0_BD.new_empty(min(tokens, UPDATE_CHUNK_TOKENS), W_enc_MD.shape[0])
    for rows in chunks(tokens, UPDATE_CHUNK_TOKENS):
        scores_TM = torch.addmm(b_enc_M, r0_BD[rows], W_enc_MD.T)
        update_TM = rows_TM[: scores_TM.shape[0]]
        for i in range(k):
            best_T = row_argmax(scores_TM)
            act_T1 = scores_TM.gather(1, best_T[:, None]).clamp_(min=0)
            acts_BK[rows, i], indices_BK[rows, i] = act_T1[:, 0], best_T
            scores_TM.scatter_(1, best_T[:, None], -torch.inf)
            if i + 1 < k:
                torch.index_select(gram_MM, 0, best_T, out=update_TM)
                scores_TM.addcmul_(update_TM, act_T1, value=-1)
    return acts_BK, indices_BK


def select_by_recompute(
    r0_BD: Tensor, W_enc_MD: Tensor, b_enc_M: Tensor, W_dec_MD: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """Activations [B, k] and indices [B, k] by a matrix product with the residual at each step."""
    tokens = r0_BD.shape[0]
    acts_BK = r0_BD.new_empty(tokens, k)
    indices_BK = torch.empty(tokens, k, dtype=torch.int64, device=r0_BD.device)
    for rows in chunks(tokens, CHUNK_TOKENS):
        residual_TD = r0_BD[rows].clone()
        for i in range(k):
            scores_TM = torch.addmm(b_enc_M, residual_TD, W_enc_MD.T)
            scores_TM.scatter_(1, indices_BK[rows, :i], -torch.inf)
            best_T = row_argmax(scores_TM)
            act_T1 = scores_TM.gather(1, best_T[:, None]).clamp_(min=0)
            acts_BK[rows, i], indices_BK[rows, i] = act_T1[:, 0], best_T
            residual_TD.addcmul_(W_dec_MD.index_select(0, best_T), act_T1, value=-1)
    return acts_BK, indices_BK
