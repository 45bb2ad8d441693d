"""Backward of matching pursuit without storage: from (j_i, a_i) and r_k alone, each r_i is rebuilt on the way back.

With g = ∂L/∂r_k, for i = K−1 … 0:

    r_i = r_{i+1} + a_i W_dec[j_i];  ∂a_i = ga_i − ⟨W_dec[j_i], g⟩;  ∂u_i = ∂a_i where a_i > 0;
    ∂W_dec[j_i] −= a_i g;  ∂W_enc[j_i] += ∂u_i r_i;  ∂b_enc[j_i] += ∂u_i;  g ← g + ∂u_i W_enc[j_i];

and ∂L/∂r_0 = g. One program per token, r and g in registers. A step reads two rows and adds two, 16·D bytes; where
a_i = 0 it does nothing. Additions are atomic (four numbers at once from sm_90 on); in deterministic mode the rows r_i
and g of a chunk of tokens go to memory instead, and are summed latent by latent in the order of the tokens.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.gpu.rows import add_outer_

STORED_BYTES = 512 << 20
"""Of rows r_i and g in memory at once, in deterministic mode."""


@dataclass(frozen=True)
class BackwardConfig:
    """How a program holds one row of width D."""

    block_d: int
    num_warps: int


def backward_config(width: int) -> BackwardConfig:
    """Eight numbers of a row per thread, and 16 per thread above 4096, where 16 warps are all that fit."""
    block_d = triton.next_power_of_2(width)
    return BackwardConfig(block_d, min(max(block_d // 256, 1), 16))


@triton.jit
def _backward_kernel(
    acts, indices, residual, W_enc, W_dec, grad_acts, grad_rows, grad_W_enc, grad_b_enc, grad_W_dec, stored_r, stored_g,
    M, D, K, BLOCK_D: tl.constexpr, DETACH: tl.constexpr, PER_STEP: tl.constexpr, STORE: tl.constexpr,
):  # fmt: skip
    """Sweeps one token; `grad_rows` holds ∂L/∂r_k and ends as ∂L/∂r_0.

    STORE: instead of adding up, ∂u_i goes to `grad_b_enc` [B, K], r_i and g to `stored_r` and `stored_g` [B, K, D].
    """
    token = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    inside = d < D
    r = tl.load(residual + token * D + d, mask=inside, other=0.0)
    g = tl.load(grad_rows + token * D + d, mask=inside, other=0.0)
    for back in range(1, K + 1):
        pair = token * K + K - back
        act, grad_act = tl.load(acts + pair), tl.load(grad_acts + pair)
        if act > 0.0:
            latent = tl.load(indices + pair)
            decoder_row = (latent + (K - back).to(tl.int64) * M if PER_STEP else latent) * D + d
            encoder_row = latent * D + d
            w = tl.load(W_dec + decoder_row, mask=inside, other=0.0)
            if not DETACH:
                e = tl.load(W_enc + encoder_row, mask=inside, other=0.0)
            grad_u = grad_act - tl.sum(w * g)
            r += act * w
            if STORE:
                tl.store(stored_r + pair * D + d, r, mask=inside)
                tl.store(stored_g + pair * D + d, g, mask=inside)
                tl.store(grad_b_enc + pair, grad_u)
            else:
                tl.atomic_add(grad_b_enc + latent, grad_u, sem="relaxed")
                if grad_W_enc is None:
                    tl.atomic_add(grad_W_dec + decoder_row, grad_u * r - act * g, mask=inside, sem="relaxed")
                else:
                    tl.atomic_add(grad_W_dec + decoder_row, -act * g, mask=inside, sem="relaxed")
                    tl.atomic_add(grad_W_enc + encoder_row, grad_u * r, mask=inside, sem="relaxed")
            if not DETACH:
                g += grad_u * e
    tl.store(grad_rows + token * D + d, g, mask=inside)


def _launch(
    saved: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    grads: tuple[Tensor, Tensor],
    weight_grads: tuple[Tensor | None, Tensor, Tensor | None],
    stored: tuple[Tensor | None, Tensor | None],
    detach_residual: bool,
) -> None:
    acts_BK, _, residual_BD, W_enc_MD, W_dec = saved
    config = backward_config(residual_BD.shape[1])
    _backward_kernel[(acts_BK.shape[0],)](
        *saved, *grads, *weight_grads, *stored, W_enc_MD.shape[0], residual_BD.shape[1], acts_BK.shape[1],
        BLOCK_D=config.block_d, DETACH=detach_residual, PER_STEP=W_dec.ndim == 3, STORE=stored[0] is not None,
        num_warps=config.num_warps,
    )  # fmt: skip


def _add_in_order(
    saved: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    grads: tuple[Tensor, Tensor],
    weight_grads: tuple[Tensor, Tensor, Tensor],
    detach_residual: bool,
) -> None:
    """The sweep, chunk after chunk, with each latent's contributions added up in the order of the tokens."""
    acts_BK, indices_BK, residual_BD, W_enc_MD, W_dec = saved
    (tokens, k), width, num_latents = acts_BK.shape, residual_BD.shape[1], W_enc_MD.shape[0]
    chunk = max(STORED_BYTES // (8 * k * width), 1)
    grad_W_enc, grad_b_enc, grad_W_dec = weight_grads
    r_TKD, g_TKD = (residual_BD.new_empty(min(chunk, tokens), k, width) for _ in range(2))
    for start in range(0, tokens, chunk):
        rows = slice(start, start + chunk)
        acts, indices = acts_BK[rows], indices_BK[rows]
        grad_u = torch.zeros_like(acts)
        part = (acts, indices, residual_BD[rows], W_enc_MD, W_dec)
        _launch(part, (grads[0][rows], grads[1][rows]), (None, grad_u, None), (r_TKD, g_TKD), detach_residual)
        latents = indices.reshape(-1, 1)
        decoder_rows = latents
        if W_dec.ndim == 3:
            decoder_rows = (indices + torch.arange(k, device=indices.device) * num_latents).reshape(-1, 1)
        r, g = (x[: acts.shape[0]].view(-1, width) for x in (r_TKD, g_TKD))
        add_outer_(grad_W_enc, latents, grad_u.view(-1, 1), r, deterministic=True)
        add_outer_(grad_W_dec.view(-1, width), decoder_rows, -acts.reshape(-1, 1), g, deterministic=True)
        ones = grad_u.new_ones(grad_u.numel(), 1)
        add_outer_(grad_b_enc.view(-1, 1), latents, grad_u.view(-1, 1), ones, deterministic=True)


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
    """Gradients of r_0, W_enc, b_enc and W_dec ([M, D] or [K, M, D]); `tied`: W_enc's is None, and in W_dec's."""
    grad_r0_BD = grad_residual_BD.clone()
    grad_W_dec = torch.zeros_like(W_dec)
    grad_W_enc = None if tied else torch.zeros_like(W_enc_MD)
    grad_b_enc = W_enc_MD.new_zeros(W_enc_MD.shape[0])
    saved, grads = (acts_BK, indices_BK, residual_BD, W_enc_MD, W_dec), (grad_acts_BK, grad_r0_BD)
    if deterministic:
        into = grad_W_dec if grad_W_enc is None else grad_W_enc
        _add_in_order(saved, grads, (into, grad_b_enc, grad_W_dec), detach_residual)
    else:
        _launch(saved, grads, (grad_W_enc, grad_b_enc, grad_W_dec), (None, None), detach_residual)
    return grad_r0_BD, grad_W_enc, grad_b_enc, grad_W_dec
