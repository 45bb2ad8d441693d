"""TopK encode: `a = TopK_k(relu(W_enc x + b_enc))` (Gao et al. 2024, arXiv 2406.04093, eq. 2)."""

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from kernels.backend import backend_of, deterministic
from kernels.checks import as_weights, check_alike, check_k, check_matrix, check_operands, check_vector


@custom_op("pursuit::topk_encode", mutates_args=())
def _topk_encode(
    x: Tensor, W_enc: Tensor, b_enc: Tensor | None, k: int, operands: torch.dtype | None
) -> tuple[Tensor, Tensor]:
    with torch.autocast(x.device.type, enabled=False):
        return backend_of(x).topk_select(x, W_enc, b_enc, k, operands)


@_topk_encode.register_fake
def _(x: Tensor, W_enc: Tensor, b_enc: Any, k: int, operands: Any) -> tuple[Tensor, Tensor]:
    acts = x.new_empty(x.shape[0], k)
    return acts, torch.empty_like(acts, dtype=torch.int64)


@custom_op("pursuit::topk_backward", mutates_args=())
def _backward(
    x: Tensor, W_enc: Tensor, acts: Tensor, indices: Tensor, grad_acts: Tensor, wants_x: bool
) -> tuple[Tensor, Tensor, Tensor]:
    backend = backend_of(x)
    with torch.autocast(x.device.type, enabled=False):
        grad_scores = torch.where(acts > 0, grad_acts, 0.0)
        grad_x = backend.weighted_rows(grad_scores, indices, W_enc) if wants_x else x.new_empty(0)
        grad_W = torch.zeros_like(W_enc)
        backend.add_outer_(grad_W, indices, grad_scores, x, deterministic=deterministic())
        grad_b = W_enc.new_zeros(W_enc.shape[0])
        grad_b.index_add_(0, indices.flatten(), grad_scores.flatten())
    return grad_x, grad_W, grad_b


@_backward.register_fake
def _(x: Tensor, W_enc: Tensor, acts: Tensor, indices: Tensor, grad: Tensor, wants_x: bool) -> tuple[Tensor, ...]:
    return torch.empty_like(x) if wants_x else x.new_empty(0), torch.empty_like(W_enc), W_enc.new_empty(W_enc.shape[0])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, W_enc, b_enc, *_ = inputs
    ctx.save_for_backward(x, W_enc, *output)
    ctx.has_bias = b_enc is not None


def _differentiate(ctx: Any, grad_acts: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    wants_x = ctx.needs_input_grad[0]
    grad_x, grad_W, grad_b = _backward(*ctx.saved_tensors, grad_acts, wants_x)
    return grad_x if wants_x else None, grad_W, grad_b if ctx.has_bias else None, None, None


_topk_encode.register_autograd(_differentiate, setup_context=_setup)


def topk_encode(
    x: Tensor, W_enc: Tensor, b_enc: Tensor | None, k: int, *, operands: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Keep each token's k largest rectified pre-activations.

    Args:
        x: centred input, [B, D], float32 or float64.
        W_enc: encoder, rows are latents, [M, D].
        b_enc: encoder bias, [M], or None.
        k: active latents per token, 1 to M.
        operands: dtype of the product that finds candidates, which float32 products then decide between; None for the
            device's default.

    Returns:
        acts [B, k] (descending, 0 where fewer than k are positive) and indices [B, k] int64; `acts` is
        differentiable in `x`, `W_enc` and `b_enc`.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, naming the argument; NaN or infinity in an argument
            while `torch.autograd.set_detect_anomaly` is on.
    """
    x = as_weights(x, W_enc)
    check_matrix("x", x)
    check_matrix("W_enc", W_enc, columns=x.shape[1])
    check_alike(x=x, W_enc=W_enc)
    if b_enc is not None:
        check_vector("b_enc", b_enc, W_enc.shape[0])
        check_alike(x=x, b_enc=b_enc)
    check_k(k, W_enc.shape[0])
    check_operands(operands)
    bias = None if b_enc is None else b_enc.contiguous()
    acts, indices = _topk_encode(x.contiguous(), W_enc.contiguous(), bias, k, operands)
    return acts, indices
