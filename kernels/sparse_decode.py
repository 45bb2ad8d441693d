"""Sparse products of tokens with the latents they activate: the decoder half of every sparse coder, and its dual.

    decode  ŷ = Σ_i a_i W[j_i]        scores  s_i = ⟨W[j_i], x⟩

Each is the other's derivative, so both are differentiable as often as anyone likes.
"""

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from kernels.backend import backend_of, deterministic
from kernels.checks import as_weights, check_alike, check_indices, check_matrix


@custom_op("pursuit::sparse_decode", mutates_args=())
def _sparse_decode(acts: Tensor, indices: Tensor, weight: Tensor) -> Tensor:
    with torch.autocast(acts.device.type, enabled=False):
        return backend_of(acts).weighted_rows(acts.contiguous(), indices.contiguous(), weight.contiguous())


@custom_op("pursuit::sparse_scores", mutates_args=())
def _sparse_scores(x: Tensor, indices: Tensor, weight: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return backend_of(x).row_products(x.contiguous(), indices.contiguous(), weight.contiguous())


@custom_op("pursuit::scatter_outer", mutates_args=())
def _scatter_outer(acts: Tensor, indices: Tensor, x: Tensor, num_latents: int) -> Tensor:
    """`Σ_{b,i} a[b, i] x[b]` into row `indices[b, i]`, [M, D]: the derivative of both by the weight."""
    out = x.new_zeros(num_latents, x.shape[1])
    with torch.autocast(x.device.type, enabled=False):
        backend_of(x).add_outer_(
            out, indices.contiguous(), acts.contiguous(), x.contiguous(), deterministic=deterministic()
        )
    return out


@_sparse_decode.register_fake
def _(acts: Tensor, indices: Tensor, weight: Tensor) -> Tensor:
    return acts.new_empty(acts.shape[0], weight.shape[1])


@_sparse_scores.register_fake
def _(x: Tensor, indices: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(indices.shape)


@_scatter_outer.register_fake
def _(acts: Tensor, indices: Tensor, x: Tensor, num_latents: int) -> Tensor:
    return x.new_empty(num_latents, x.shape[1])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])


def _differentiate_decode(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
    acts, indices, weight = ctx.saved_tensors
    wants_acts, _, wants_weight = ctx.needs_input_grad
    grad_acts = _sparse_scores(grad, indices, weight) if wants_acts else None
    return grad_acts, None, _scatter_outer(acts, indices, grad, weight.shape[0]) if wants_weight else None


def _differentiate_scores(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
    x, indices, weight = ctx.saved_tensors
    wants_x, _, wants_weight = ctx.needs_input_grad
    grad_x = _sparse_decode(grad, indices, weight) if wants_x else None
    return grad_x, None, _scatter_outer(grad, indices, x, weight.shape[0]) if wants_weight else None


def _differentiate_outer(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor, None]:
    acts, indices, x = ctx.saved_tensors
    return _sparse_scores(x, indices, grad), None, _sparse_decode(acts, indices, grad), None


_sparse_decode.register_autograd(_differentiate_decode, setup_context=_save)
_sparse_scores.register_autograd(_differentiate_scores, setup_context=_save)
_scatter_outer.register_autograd(_differentiate_outer, setup_context=_save)


def sparse_decode(acts: Tensor, indices: Tensor, W_dec: Tensor) -> Tensor:
    """Sum the decoder rows of each token's active latents.

    Args:
        acts: activations, [B, K], float32 or float64.
        indices: latent of each activation, [B, K], int64 in [0, M).
        W_dec: decoder, rows are latents, [M, D].

    Returns:
        [B, D]; differentiable in `acts` and `W_dec`. No bias is added.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, naming the argument; NaN or infinity in an argument
            while `torch.autograd.set_detect_anomaly` is on.
    """
    acts = as_weights(acts, W_dec)
    check_matrix("W_dec", W_dec)
    check_matrix("acts", acts)
    check_alike(W_dec=W_dec, acts=acts)
    check_indices(indices, acts)
    out: Tensor = _sparse_decode(acts, indices, W_dec)
    return out


def sparse_scores(x: Tensor, indices: Tensor, W: Tensor) -> Tensor:
    """Dot products of each token with the rows of its active latents.

    Args:
        x: [B, D], float32 or float64.
        indices: latents of each token, [B, K], int64 in [0, M).
        W: dictionary, rows are latents, [M, D].

    Returns:
        [B, K]; differentiable in `x` and `W`.

    Raises:
        ValueError: as `sparse_decode`.
    """
    x = as_weights(x, W)
    check_matrix("W", W)
    check_matrix("x", x, columns=W.shape[1])
    check_alike(W=W, x=x)
    if indices.ndim != 2 or indices.shape[0] != x.shape[0] or indices.dtype != torch.int64:
        raise ValueError(
            f"indices is {indices.dtype} of shape {list(indices.shape)}; expected torch.int64 of [{x.shape[0]}, K]"
        )
    out: Tensor = _sparse_scores(x, indices, W)
    return out
