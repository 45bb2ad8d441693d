"""Matching pursuit in torch alone, in any float dtype and on any device: what runs where nothing faster applies."""

import torch
from torch import Tensor

from kernels.cpu.rows import CHUNK_TOKENS, chunks, row_argmax
from kernels.rules import Rules

UPDATE_CHUNK_TOKENS = 64
"""Tokens whose score rows are updated together: 64 × 4,608 fp32 scores stay in a CPU core's cache."""


def _scores(residual_TD: Tensor, W_enc_MD: Tensor, b_enc_M: Tensor | None) -> Tensor:
    if b_enc_M is None:
        return residual_TD @ W_enc_MD.T
    return torch.addmm(b_enc_M, residual_TD, W_enc_MD.T)


def _rectified(scores_TM: Tensor, best_T: Tensor, residual_TD: Tensor, rules: Rules) -> Tensor:
    """Activation of the chosen latents, [T, 1]; 0 for tokens whose residual is short enough."""
    act_T1 = scores_TM.gather(1, best_T[:, None]).clamp_(min=0)
    if rules.residual_threshold > 0:
        length_T1 = torch.linalg.vector_norm(residual_TD, dim=1, keepdim=True)
        act_T1.masked_fill_(length_T1 <= rules.residual_threshold, 0.0)
    return act_T1


def select_by_update(
    r0_BD: Tensor,
    W_enc_MD: Tensor,
    b_enc_M: Tensor | None,
    W_dec_MD: Tensor,
    gram_MM: Tensor,
    rules: Rules,
    excluded_B: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Activations [B, k], indices [B, k] and last residual [B, D] by updating scores with rows of `gram_MM`."""
    acts_BK = r0_BD.new_empty(r0_BD.shape[0], rules.k)
    indices_BK = torch.empty(acts_BK.shape, dtype=torch.int64, device=r0_BD.device)
    residual_BD = r0_BD.clone()
    for rows in chunks(r0_BD.shape[0], UPDATE_CHUNK_TOKENS):
        residual_TD = residual_BD[rows]
        scores_TM = _scores(residual_TD, W_enc_MD, b_enc_M)
        if excluded_B is not None:
            scores_TM.scatter_(1, excluded_B[rows, None], -torch.inf)
        for i in range(rules.k):
            best_T = row_argmax(scores_TM)
            act_T1 = _rectified(scores_TM, best_T, residual_TD, rules)
            acts_BK[rows, i], indices_BK[rows, i] = act_T1[:, 0], best_T
            residual_TD.addcmul_(W_dec_MD.index_select(0, best_T), act_T1, value=-1)
            if not rules.repeats:
                scores_TM.scatter_(1, best_T[:, None], -torch.inf)
            if i + 1 < rules.k:
                scores_TM.addcmul_(gram_MM.index_select(0, best_T), act_T1, value=-1)
    return acts_BK, indices_BK, residual_BD


def select_by_recompute(
    r0_BD: Tensor,
    W_enc_MD: Tensor,
    b_enc_M: Tensor | None,
    W_dec: Tensor,
    rules: Rules,
    excluded_B: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same by a matrix product with the residual at each step, of the step's slice where latents are sliced."""
    acts_BK = r0_BD.new_empty(r0_BD.shape[0], rules.k)
    indices_BK = torch.empty(acts_BK.shape, dtype=torch.int64, device=r0_BD.device)
    residual_BD = r0_BD.clone()
    for rows in chunks(r0_BD.shape[0], CHUNK_TOKENS):
        residual_TD = residual_BD[rows]
        for i in range(rules.k):
            first, last = rules.slice_bounds(i, W_enc_MD.shape[0])
            bias_M = None if b_enc_M is None else b_enc_M[first:last]
            scores_TM = _scores(residual_TD, W_enc_MD[first:last], bias_M)
            if not (rules.repeats or rules.sliced):
                scores_TM.scatter_(1, indices_BK[rows, :i], -torch.inf)
            if excluded_B is not None:
                scores_TM.scatter_(1, excluded_B[rows, None], -torch.inf)
            best_T = row_argmax(scores_TM)
            act_T1 = _rectified(scores_TM, best_T, residual_TD, rules)
            best_T = best_T + first
            acts_BK[rows, i], indices_BK[rows, i] = act_T1[:, 0], best_T
            decoder_MD = W_dec[i] if W_dec.ndim == 3 else W_dec
            residual_TD.addcmul_(decoder_MD.index_select(0, best_T), act_T1, value=-1)
    return acts_BK, indices_BK, residual_BD
