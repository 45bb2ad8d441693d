"""Backward of matching pursuit without stored residuals (DESIGN: sweep i = k−1 … 0 with g = ∂L/∂r_k).

r_i = r_{i+1} + a_i W_dec[j_i];  ∂a_i = ga_i − ⟨W_dec[j_i], g⟩;  ∂W_dec[j_i] −= a_i g;  ∂u_i = ∂a_i·[a_i > 0]
∂W_enc[j_i] += ∂u_i r_i;  ∂b_enc[j_i] += ∂u_i;  g ← g + ∂u_i W_enc[j_i];  at the end ∂L/∂r_0 = g
"""

import ctypes

import torch
from torch import Tensor

from kernels.cpu import native
from kernels.cpu.rows import CHUNK_TOKENS, chunks, extension_serves


def pursuit_backward(
    acts_BK: Tensor,
    indices_BK: Tensor,
    residual_BD: Tensor,
    W_enc_MD: Tensor,
    W_dec: Tensor,
    grad_acts_BK: Tensor,
    grad_residual_BD: Tensor,
    *,
    detach_residual: bool,
    deterministic: bool,
    tied: bool,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Gradients at r_0 [B, D], W_enc (None where `tied`: both are in the last), b_enc [M] and W_dec.

    On CPU the order of every sum is fixed, whatever `deterministic` says.
    """
    grad_W_dec = torch.zeros_like(W_dec)
    grad_W_enc = grad_W_dec if tied else torch.zeros_like(W_enc_MD)
    grads = (grad_residual_BD.clone(), torch.empty_like(acts_BK), grad_W_enc, grad_W_dec)
    saved = (acts_BK, indices_BK, residual_BD, W_enc_MD, W_dec)
    if extension_serves(acts_BK):
        _sweep_compiled(saved, grad_acts_BK, grad_residual_BD, grads, detach_residual)
    else:
        for rows in chunks(acts_BK.shape[0], CHUNK_TOKENS):
            _sweep_chunk(rows, saved, grad_acts_BK, grads, detach_residual)
    grad_r0_BD, grad_scores_BK, *_ = grads
    grad_b_enc = W_enc_MD.new_zeros(W_enc_MD.shape[0])
    grad_b_enc.index_add_(0, indices_BK.flatten(), grad_scores_BK.flatten())
    return grad_r0_BD, None if tied else grad_W_enc, grad_b_enc, grad_W_dec


def _sweep_chunk(
    rows: slice, saved: tuple[Tensor, ...], grad_acts_BK: Tensor, grads: tuple[Tensor, ...], detach_residual: bool
) -> None:
    acts_TK, indices_TK, residual_TD = saved[0][rows], saved[1][rows], saved[2][rows].clone()
    W_enc_MD, W_dec = saved[3:]
    g_TD, grad_scores_TK, grad_W_enc, grad_W_dec = grads[0][rows], grads[1][rows], *grads[2:]
    for i in reversed(range(acts_TK.shape[1])):
        j_T, a_T1 = indices_TK[:, i], acts_TK[:, i, None]
        decoder, grad_decoder = (W_dec[i], grad_W_dec[i]) if W_dec.ndim == 3 else (W_dec, grad_W_dec)
        w_TD = decoder.index_select(0, j_T)
        residual_TD.addcmul_(w_TD, a_T1)
        grad_a_T = grad_acts_BK[rows, i] - (w_TD * g_TD).sum(dim=1)
        grad_u_T = torch.where(a_T1[:, 0] > 0, grad_a_T, 0.0)
        grad_scores_TK[:, i] = grad_u_T
        grad_decoder.index_add_(0, j_T, g_TD * a_T1, alpha=-1)
        grad_W_enc.index_add_(0, j_T, residual_TD * grad_u_T[:, None])
        if not detach_residual:
            g_TD.addcmul_(W_enc_MD.index_select(0, j_T), grad_u_T[:, None])


def _sweep_compiled(
    saved: tuple[Tensor, ...],
    grad_acts_BK: Tensor,
    grad_residual_BD: Tensor,
    grads: tuple[Tensor, ...],
    detach_residual: bool,
) -> None:
    at = native.pointer
    names = ("acts", "indices", "residual", "W_enc", "W_dec")
    outputs = ("grad_first", "grad_scores", "grad_W_enc", "grad_W_dec")
    (tokens, k), (num_latents, width) = saved[0].shape, saved[3].shape
    sweep = native.Sweep(
        **dict(zip(names, map(at, saved), strict=True)), **dict(zip(outputs, map(at, grads), strict=True)),
        grad_acts=at(grad_acts_BK), grad_last=at(grad_residual_BD), B=tokens, D=width, K=k,
        decoder_stride=num_latents * width if saved[4].ndim == 3 else 0, detach=detach_residual,
    )  # fmt: skip
    native.call("sweep_tokens", ctypes.byref(sweep))
    native.call("sweep_columns", ctypes.byref(sweep))
