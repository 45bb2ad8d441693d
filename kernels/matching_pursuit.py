"""Matching pursuit with untied encoder and decoder (Mallat & Zhang 1993; untied as in the MP-SAE study).

    r_0 = x − b_dec;  s = relu(W_enc r_i + b_enc) over latents not yet chosen;  j_i = argmax s;  a_i = s[j_i];
    r_{i+1} = r_i − a_i W_dec[j_i]

The backward pass keeps only (j_i, a_i) and r_k: sweeping i = k−1 … 0 with g = ∂L/∂r_k it rebuilds each r_i from
r_{i+1}, so that memory is O(B·(D + 2K)) and work O(B·K·D).
"""

from typing import Any

import torch
from torch import Tensor

from kernels.checks import check_alike, check_k, check_matrix, check_vector
from kernels.mp_forms import Form, choose_form, select_by_recompute, select_by_update
from kernels.rows import CHUNK_TOKENS, chunks, weighted_rows


def decoder_gram(W_dec: Tensor, W_enc: Tensor) -> Tensor:
    """`H = W_dec W_encᵀ`, [M, M]: what choosing latent j subtracts from every score, per unit of activation."""
    return W_dec.detach() @ W_enc.detach().T


def _backward_sweep(
    residual_TD: Tensor,
    g_TD: Tensor,
    grad_acts_TK: Tensor,
    saved: tuple[Tensor, Tensor, Tensor, Tensor],
    grads: tuple[Tensor, Tensor, Tensor],
    detach_residual: bool,
) -> None:
    """Sweep one chunk backwards, in place: `g_TD` ends as ∂L/∂r_0, and the three weight gradients accumulate."""
    acts_TK, indices_TK, W_enc_MD, W_dec_MD = saved
    grad_W_enc, grad_b_enc, grad_W_dec = grads
    for i in reversed(range(acts_TK.shape[1])):
        j_T, a_T1 = indices_TK[:, i], acts_TK[:, i, None]
        w_TD = W_dec_MD.index_select(0, j_T)
        residual_TD.addcmul_(w_TD, a_T1)
        grad_a_T = grad_acts_TK[:, i] - (w_TD * g_TD).sum(dim=1)
        grad_u_T = torch.where(a_T1[:, 0] > 0, grad_a_T, 0.0)
        grad_W_dec.index_add_(0, j_T, g_TD * a_T1, alpha=-1)
        grad_W_enc.index_add_(0, j_T, residual_TD * grad_u_T[:, None])
        grad_b_enc.index_add_(0, j_T, grad_u_T)
        if not detach_residual:
            g_TD.addcmul_(W_enc_MD.index_select(0, j_T), grad_u_T[:, None])


class _MatchingPursuit(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        r0_BD: Tensor,
        W_enc_MD: Tensor,
        b_enc_M: Tensor,
        W_dec_MD: Tensor,
        gram_MM: Tensor | None,
        k: int,
        detach_residual: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        if gram_MM is not None:
            acts_BK, indices_BK = select_by_update(r0_BD, W_enc_MD, b_enc_M, gram_MM, k)
        else:
            acts_BK, indices_BK = select_by_recompute(r0_BD, W_enc_MD, b_enc_M, W_dec_MD, k)
        residual_BD = r0_BD - weighted_rows(acts_BK, indices_BK, W_dec_MD)
        ctx.save_for_backward(acts_BK, indices_BK, residual_BD, W_enc_MD, W_dec_MD)
        ctx.detach_residual = detach_residual
        ctx.mark_non_differentiable(indices_BK)
        return acts_BK, indices_BK, residual_BD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        acts_BK, indices_BK, residual_BD, W_enc_MD, W_dec_MD = ctx.saved_tensors
        grad_acts_BK, _, grad_residual_BD = grads
        weight_grads = (
            torch.zeros_like(W_enc_MD),
            W_enc_MD.new_zeros(W_enc_MD.shape[0]),
            torch.zeros_like(W_dec_MD),
        )
        grad_r0_BD = grad_residual_BD.clone()
        for rows in chunks(acts_BK.shape[0], CHUNK_TOKENS):
            saved = (acts_BK[rows], indices_BK[rows], W_enc_MD, W_dec_MD)
            _backward_sweep(
                residual_BD[rows].clone(), grad_r0_BD[rows], grad_acts_BK[rows], saved, weight_grads,
                ctx.detach_residual,
            )  # fmt: skip
        grad_W_enc, grad_b_enc, grad_W_dec = weight_grads
        return grad_r0_BD, grad_W_enc, grad_b_enc, grad_W_dec, None, None, None


def matching_pursuit(
    r0: Tensor,
    W_enc: Tensor,
    b_enc: Tensor,
    W_dec: Tensor,
    k: int,
    *,
    detach_residual: bool = False,
    form: Form = "auto",
    gram: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose k latents one after another, subtracting each one's decoder row before the next is chosen.

    Args:
        r0: `x − b_dec`, [B, D], float32 or float64.
        W_enc: encoder, rows are latents, [M, D].
        b_enc: encoder bias, [M].
        W_dec: decoder, rows are latents, [M, D].
        k: steps, 1 to M; no latent is chosen twice. A token whose best score is 0 has stopped: its remaining
            activations are 0.
        detach_residual: stop the gradient at each step's residual.
        form: how scores are obtained ("update" or "recompute"); "auto" takes the cheaper by a cost model.
        gram: `decoder_gram(W_dec, W_enc)` where the caller has it already (several micro-batches of one step).

    Returns:
        acts [B, k], indices [B, k] int64, residual r_k [B, D]; differentiable in `r0`, `W_enc`, `b_enc` and `W_dec`
        through `acts` and `residual`.

    Raises:
        ValueError: shapes, dtypes, devices or options that do not fit, naming the argument.
    """
    check_matrix("r0", r0)
    check_matrix("W_enc", W_enc, columns=r0.shape[1])
    check_matrix("W_dec", W_dec, columns=r0.shape[1])
    num_latents = W_enc.shape[0]
    if W_dec.shape[0] != num_latents:
        raise ValueError(f"W_dec has {W_dec.shape[0]} rows; expected {num_latents} as W_enc")
    check_vector("b_enc", b_enc, num_latents)
    check_alike(r0=r0, W_enc=W_enc, b_enc=b_enc, W_dec=W_dec)
    check_k(k, num_latents)
    if form not in ("auto", "update", "recompute"):
        raise ValueError(f"form is {form!r}; expected 'auto', 'update' or 'recompute'")
    if gram is not None and gram.shape != (num_latents, num_latents):
        raise ValueError(f"gram has shape {list(gram.shape)}; expected [{num_latents}, {num_latents}]")
    if gram is None:
        if form == "auto":
            form = choose_form(r0.shape[0], k, num_latents, r0.shape[1], r0.element_size())
        gram = decoder_gram(W_dec, W_enc) if form == "update" else None
    acts, indices, residual = _MatchingPursuit.apply(r0, W_enc, b_enc, W_dec, gram, k, detach_residual)  # type: ignore[no-untyped-call]
    return acts, indices, residual
