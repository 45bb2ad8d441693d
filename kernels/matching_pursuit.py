"""Matching pursuit with untied encoder and decoder (Mallat & Zhang 1993; untied as in the MP-SAE study).

    r_0 = x − b_dec;  s = relu(W_enc r_i + b_enc) over latents not yet chosen;  j_i = argmax s;  a_i = s[j_i];
    r_{i+1} = r_i − a_i W_dec[j_i]

The backward pass keeps only (j_i, a_i) and r_k: sweeping i = k−1 … 0 with g = ∂L/∂r_k it rebuilds each r_i from
r_{i+1}, so that memory is O(B·(D + 2K)) and work O(B·K·D).
"""

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from kernels.backend import backend_of, deterministic
from kernels.checks import (
    as_weights,
    check_alike,
    check_floats,
    check_k,
    check_matrix,
    check_operands,
    check_vector,
)
from kernels.forms import FORMS, Form, best_form
from kernels.rules import Rules

# Registered operators: torch.compile takes each as one opaque step, and autocast is kept out of them.


@custom_op("pursuit::decoder_gram", mutates_args=())
def _decoder_gram(W_dec: Tensor, W_enc: Tensor, operands: torch.dtype | None) -> Tensor:
    with torch.autocast(W_dec.device.type, enabled=False):
        return backend_of(W_dec).gram(W_dec, W_enc, operands)


@_decoder_gram.register_fake
def _(W_dec: Tensor, W_enc: Tensor, operands: torch.dtype | None) -> Tensor:
    return W_dec.new_empty(W_dec.shape[0], W_enc.shape[0], dtype=backend_of(W_dec).gram_dtype(W_dec, operands))


@custom_op("pursuit::matching_pursuit", mutates_args=())
def _matching_pursuit(
    r0: Tensor,
    W_enc: Tensor,
    b_enc: Tensor | None,
    W_dec: Tensor,
    gram: Tensor | None,
    k: int,
    repeats: bool,
    sliced: bool,
    residual_threshold: float,
    form: str,
    operands: torch.dtype | None,
    detach_residual: bool,
    tied: bool,
    excluded: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    rules = Rules(k=k, repeats=repeats, sliced=sliced, residual_threshold=residual_threshold)
    backend = backend_of(r0)
    with torch.autocast(r0.device.type, enabled=False):
        if form == "auto" and gram is None:
            form, _ = best_form(
                backend.rates(r0), r0.shape[0], W_enc.shape[0], r0.shape[1], rules, per_step=W_dec.ndim == 3
            )
        elif form == "auto":
            form = "update"
        if form == "update" and gram is None:
            gram = backend.gram(W_dec, W_enc, operands)
        return backend.pursue(form, r0, W_enc, b_enc, W_dec, gram, rules, operands, excluded)


@_matching_pursuit.register_fake
def _(r0: Tensor, W_enc: Tensor, b_enc: Any, W_dec: Tensor, gram: Any, k: int, *_: Any) -> tuple[Tensor, ...]:
    acts = r0.new_empty(r0.shape[0], k)
    return acts, torch.empty_like(acts, dtype=torch.int64), torch.empty_like(r0)


@custom_op("pursuit::matching_pursuit_backward", mutates_args=())
def _backward(
    acts: Tensor,
    indices: Tensor,
    residual: Tensor,
    W_enc: Tensor,
    W_dec: Tensor,
    grad_acts: Tensor,
    grad_residual: Tensor,
    detach_residual: bool,
    tied: bool,
) -> list[Tensor]:
    with torch.autocast(acts.device.type, enabled=False):
        grad_r0, grad_W_enc, grad_b_enc, grad_W_dec = backend_of(acts).pursuit_backward(
            acts, indices, residual, W_enc, W_dec, grad_acts.contiguous(), grad_residual.contiguous(),
            detach_residual=detach_residual, deterministic=deterministic(), tied=tied,
        )  # fmt: skip
    return [grad_r0, grad_b_enc, grad_W_dec] + ([] if grad_W_enc is None else [grad_W_enc])


@_backward.register_fake
def _(acts: Tensor, indices: Tensor, residual: Tensor, W_enc: Tensor, W_dec: Tensor, *rest: Any) -> list[Tensor]:
    grads = [torch.empty_like(residual), W_enc.new_empty(W_enc.shape[0]), torch.empty_like(W_dec)]
    return grads if rest[-1] else [*grads, torch.empty_like(W_enc)]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, W_enc, b_enc, W_dec, *_, detach_residual, tied, _ = inputs
    ctx.save_for_backward(*output, W_enc, W_dec)
    ctx.options, ctx.has_bias = (detach_residual, tied), b_enc is not None


def _differentiate(ctx: Any, grad_acts: Tensor, _: Tensor, grad_residual: Tensor) -> tuple[Tensor | None, ...]:
    grad_r0, grad_b_enc, grad_W_dec, *grad_W_enc = _backward(*ctx.saved_tensors, grad_acts, grad_residual, *ctx.options)
    grad_b = grad_b_enc if ctx.has_bias else None
    return grad_r0, grad_W_enc[0] if grad_W_enc else None, grad_b, grad_W_dec, *[None] * 10


_matching_pursuit.register_autograd(_differentiate, setup_context=_setup)


def decoder_gram(W_dec: Tensor, W_enc: Tensor, *, operands: torch.dtype | None = None) -> Tensor:
    """`H = W_dec W_encᵀ`, [M, M]: what choosing latent j subtracts from every score, per unit of activation.

    In the dtype that `matching_pursuit` reads it in on this device: `operands`, or the device's default for it. Not
    differentiable. Raises ValueError for matrices that do not fit.
    """
    check_matrix("W_dec", W_dec)
    check_matrix("W_enc", W_enc, columns=W_dec.shape[1])
    check_alike(W_dec=W_dec, W_enc=W_enc)
    check_operands(operands)
    out: Tensor = _decoder_gram(W_dec.detach().contiguous(), W_enc.detach().contiguous(), operands)
    return out


def matching_pursuit(
    r0: Tensor,
    W_enc: Tensor,
    b_enc: Tensor | None,
    W_dec: Tensor,
    k: int,
    *,
    detach_residual: bool = False,
    repeats: bool = False,
    sliced: bool = False,
    residual_threshold: float = 0.0,
    form: Form = "auto",
    gram: Tensor | None = None,
    operands: torch.dtype | None = None,
    excluded: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose k latents one after another, subtracting each one's decoder row before the next is chosen.

    Args:
        r0: `x − b_dec`, [B, D], float32 or float64.
        W_enc: encoder, rows are latents, [M, D].
        b_enc: encoder bias, [M], or None; minus infinity forbids a latent.
        W_dec: decoder, rows are latents, [M, D] (the same tensor as `W_enc` where they are tied); or [k, M, D], a
            decoder for each step.
        k: steps, 1 to M. A token whose best score is 0 has stopped: its remaining activations are 0.
            With `sliced` only this step's is, since the next chooses among other latents.
        detach_residual: stop the gradient at each step's residual.
        repeats: let a latent be chosen more than once; otherwise never.
        sliced: cut the latents into k slices; step i chooses in slice i, latents `i·M // k` to `(i + 1)·M // k`.
        residual_threshold: a token whose residual is no longer than this has stopped; 0 for no threshold.
        form: how scores are obtained ("update", "recompute" or, on CPU, "screen"; see `kernels.forms`); "auto" takes
            the cheapest by a cost model and logs it.
        gram: `decoder_gram(W_dec, W_enc)` where the caller has it already (several micro-batches of one step).
        operands: dtype of matrix products that find candidates, which float32 products then decide between (bfloat16,
            float16, float32); None for the device's default.
        excluded: a latent of each token that it may not choose, [B] int64; not with `repeats` or `sliced`.

    Returns:
        acts [B, k], indices [B, k] int64, residual r_k [B, D]; differentiable in `r0`, `W_enc`, `b_enc` and `W_dec`
        through `acts` and `residual`.

    Raises:
        ValueError: shapes, dtypes, devices or options that do not fit, naming the argument; NaN or infinity in an
            argument while `torch.autograd.set_detect_anomaly` is on.
    """
    r0 = as_weights(r0, W_enc)
    _check(r0, W_enc, b_enc, W_dec, k)
    check_operands(operands)
    _check_options(r0, W_dec, form, sliced, residual_threshold)
    if excluded is not None:
        _check_excluded(excluded, r0, W_enc.shape[0], k, repeats or sliced)
    if gram is not None:
        _check_gram(gram, r0, W_enc.shape[0], operands, sliced or W_dec.ndim == 3)
    tied = W_dec is W_enc
    bias, gram, excluded = (None if t is None else t.contiguous() for t in (b_enc, gram, excluded))
    acts, indices, residual = _matching_pursuit(
        r0.contiguous(), W_enc.contiguous(), bias, W_dec.contiguous(), gram, k, repeats, sliced,
        float(residual_threshold), form, operands, detach_residual, tied, excluded,
    )  # fmt: skip
    return acts, indices, residual


def _check(r0: Tensor, W_enc: Tensor, b_enc: Tensor | None, W_dec: Tensor, k: int) -> None:
    check_matrix("r0", r0)
    check_matrix("W_enc", W_enc, columns=r0.shape[1])
    num_latents, width = W_enc.shape
    expected = [num_latents, width] if W_dec.ndim != 3 else [k, num_latents, width]
    if list(W_dec.shape) != expected:
        raise ValueError(f"W_dec has shape {list(W_dec.shape)}; expected {expected}")
    check_floats("W_dec", W_dec)
    check_alike(r0=r0, W_enc=W_enc, W_dec=W_dec)
    if b_enc is not None:
        check_vector("b_enc", b_enc, num_latents)
        check_alike(r0=r0, b_enc=b_enc)
    check_k(k, num_latents)


def _check_options(r0: Tensor, W_dec: Tensor, form: str, sliced: bool, residual_threshold: float) -> None:
    if form not in FORMS:
        raise ValueError(f"form is {form!r}; expected one of {', '.join(map(repr, FORMS))}")
    if form == "update" and (sliced or W_dec.ndim == 3):
        raise ValueError("form is 'update'; expected another for slices or for a decoder for each step")
    if form == "screen" and sliced:
        raise ValueError("form is 'screen'; expected 'auto' or 'recompute' for slices")
    if not residual_threshold >= 0:
        raise ValueError(f"residual_threshold is {residual_threshold}; expected 0 or a positive number")


def _check_excluded(excluded: Tensor, r0: Tensor, num_latents: int, k: int, otherwise: bool) -> None:
    if otherwise:
        raise ValueError("excluded is given; expected None with repeats or slices")
    if excluded.dtype != torch.int64 or list(excluded.shape) != [len(r0)] or excluded.device != r0.device:
        found = f"{excluded.dtype} of shape {list(excluded.shape)} on {excluded.device}"
        raise ValueError(f"excluded is {found}; expected torch.int64 of [{len(r0)}] on {r0.device}")
    if k >= num_latents:
        raise ValueError(f"k is {k}; expected 1 to {num_latents - 1} where a latent is excluded")
    if torch.compiler.is_compiling() or excluded.device.type != "cpu" or not len(excluded):
        return  # a GPU would have to be waited for
    if not 0 <= excluded.min() <= excluded.max() < num_latents:
        raise ValueError(
            f"excluded has values from {excluded.min()} to {excluded.max()}; expected 0 to {num_latents - 1}"
        )


def _check_gram(gram: Tensor, r0: Tensor, num_latents: int, operands: torch.dtype | None, unwanted: bool) -> None:
    if unwanted:
        raise ValueError("gram is given; expected None for slices or for a decoder for each step")
    if gram.shape != (num_latents, num_latents) or gram.device != r0.device:
        raise ValueError(
            f"gram has shape {list(gram.shape)} on {gram.device}; expected {[num_latents] * 2} on {r0.device}"
        )
    if gram.dtype != (wanted := backend_of(r0).gram_dtype(r0, operands)):
        raise ValueError(f"gram is {gram.dtype}; expected {wanted}, as decoder_gram makes it")
