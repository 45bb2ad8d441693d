"""Who is measured. Each contestant builds, on a problem's weights, the forward half of one training step.

The loss is the mean over tokens of the squared error, or what the contestant's own library trains with.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from benchmarks.problem import Problem
from kernels import decoder_gram, matching_pursuit, sparse_decode, topk_encode

Operation = Literal["mp", "mp-tied", "mp-sliced", "topk"]


class Output(NamedTuple):
    """What one forward returns."""

    loss: Tensor
    error_BD: Tensor
    """x̂ − x or its negative, detached."""
    indices_BK: Tensor | None
    """The choice, where the contestant tells it."""


@dataclass(frozen=True)
class Step:
    """A contestant set up on one problem."""

    parameters: tuple[Tensor, ...]
    forward: Callable[[], Output]
    facts: dict[str, float] = field(default_factory=dict)
    """What the report needs to know beside times."""


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A way to run a training step of one operation."""

    name: str
    operation: Operation
    """What it computes, and therefore the reference it is checked against."""
    build: Callable[[Problem], Step]
    ours: bool = False
    module: str | None = None
    """The module it needs beyond this repository's requirements."""
    bfloat16_on_cuda: bool = False
    """Its products run in bfloat16 on a GPU, as its users run it; its FVU is then compared accordingly."""


def parameter(value: Tensor) -> Tensor:
    """A trainable copy."""
    return value.clone().requires_grad_()


def squared_error(error_BD: Tensor, indices_BK: Tensor | None = None) -> Output:
    """The common loss."""
    return Output(error_BD.pow(2).sum(dim=1).mean(), error_BD.detach(), indices_BK)


def _biases(problem: Problem) -> tuple[Tensor, Tensor]:
    return parameter(problem.W_MD.new_zeros(len(problem.W_MD))), parameter(problem.b_dec_D)


def _ours_untied(problem: Problem, **options: Any) -> Step:
    W_enc, W_dec = parameter(problem.W_MD), parameter(problem.W_MD)
    b_enc, b_dec = _biases(problem)

    def forward() -> Output:
        _, indices, residual = matching_pursuit(problem.x_BD - b_dec, W_enc, b_enc, W_dec, problem.k, **options)
        return squared_error(residual, indices)

    return Step((W_enc, b_enc, W_dec, b_dec), forward)


def _ours_tied(problem: Problem) -> Step:
    W, b_dec = parameter(problem.W_MD), parameter(problem.b_dec_D)

    def forward() -> Output:
        _, indices, residual = matching_pursuit(problem.x_BD - b_dec, W, None, W, problem.k, repeats=True)
        return squared_error(residual, indices)

    return Step((W, b_dec), forward)


def _ours_update_given_gram(problem: Problem) -> Step:
    gram = decoder_gram(problem.W_MD, problem.W_MD)
    step = _ours_untied(problem, form="update", gram=gram)
    return Step(step.parameters, step.forward, {"gram_itemsize": gram.element_size()})


def _ours_topk(problem: Problem) -> Step:
    W_enc, W_dec = parameter(problem.W_MD), parameter(problem.W_MD)
    b_enc, b_dec = _biases(problem)

    def forward() -> Output:
        acts, indices = topk_encode(problem.x_BD - b_dec, W_enc, b_enc, problem.k)
        return squared_error(sparse_decode(acts, indices, W_dec) + b_dec - problem.x_BD, indices)

    return Step((W_enc, b_enc, W_dec, b_dec), forward)


def _plain(problem: Problem) -> Step:
    """Autograd over gathered rows; the dense scores serve the choice only and are not kept."""
    W_enc, W_dec = parameter(problem.W_MD), parameter(problem.W_MD)
    b_enc, b_dec = _biases(problem)

    def forward() -> Output:
        residual = problem.x_BD - b_dec
        chosen: list[Tensor] = []
        for _ in range(problem.k):
            with torch.no_grad():
                scores = linear(residual, W_enc, b_enc)
                if chosen:
                    scores.scatter_(1, torch.stack(chosen, dim=1), -torch.inf)
                j = scores.argmax(dim=1)
            act = torch.relu((residual * W_enc[j]).sum(dim=1) + b_enc[j])
            residual = residual - act[:, None] * W_dec[j]
            chosen.append(j)
        return squared_error(residual, torch.stack(chosen, dim=1))

    return Step((W_enc, b_enc, W_dec, b_dec), forward)


class _Top1Encode(torch.autograd.Function):
    """The best latent of dense pre-activations; backward makes a dense weight gradient from the stored input."""

    @staticmethod
    def forward(ctx: Any, r_BD: Tensor, W_MD: Tensor, b_M: Tensor, chosen_BM: Tensor) -> tuple[Tensor, Tensor]:
        dtype = torch.bfloat16 if r_BD.is_cuda else r_BD.dtype
        pre_BM = torch.relu(linear(r_BD.to(dtype), W_MD.to(dtype), b_M.to(dtype)))
        act_B, j_B = pre_BM.masked_fill_(chosen_BM, -1.0).max(dim=1)
        ctx.save_for_backward(r_BD, W_MD, j_B, act_B > 0)
        ctx.mark_non_differentiable(j_B)
        return act_B.to(r_BD.dtype), j_B

    @staticmethod
    def backward(ctx: Any, grad_act_B: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        r_BD, W_MD, j_B, active_B = ctx.saved_tensors
        grad_B = grad_act_B * active_B
        grad_W = torch.zeros_like(W_MD).index_add_(0, j_B, grad_B[:, None] * r_BD)
        grad_b = W_MD.new_zeros(len(W_MD)).index_add_(0, j_B, grad_B)
        return grad_B[:, None] * W_MD[j_B], grad_W, grad_b, None


def _dense_steps(problem: Problem) -> Step:
    """The definition step by step, as the study ran it: dense pre-activations, top-1, every residual stored."""
    W_enc, W_dec = parameter(problem.W_MD), parameter(problem.W_MD)
    b_enc, b_dec = _biases(problem)

    def forward() -> Output:
        residual, indices = problem.x_BD - b_dec, []
        chosen = torch.zeros(len(residual), len(W_enc), dtype=torch.bool, device=residual.device)
        for _ in range(problem.k):
            act, j = _Top1Encode.apply(residual, W_enc, b_enc, chosen)  # type: ignore[no-untyped-call]
            residual = residual - act[:, None] * W_dec[j]
            chosen.scatter_(1, j[:, None], True)
            indices.append(j)
        return squared_error(residual, torch.stack(indices, dim=1))

    return Step((W_enc, b_enc, W_dec, b_dec), forward)


def _dense_codes(problem: Problem) -> Step:
    """What sae-lens 6.54 computes, in our words: scores of all latents, activations in a dense matrix, a dense decode.

    For machines that have torch and no sae-lens.
    """
    W, b_dec = parameter(problem.W_MD), parameter(problem.b_dec_D)

    def forward() -> Output:
        residual = problem.x_BD - b_dec
        codes_BM = residual.new_zeros(len(residual), len(W))
        for _ in range(problem.k):
            with torch.no_grad():
                j = linear(residual, W).argmax(dim=1)
            rows = W[j]
            act = torch.relu((residual * rows).sum(dim=1, keepdim=True))
            codes_BM.scatter_add_(1, j[:, None], act)
            residual = residual - act * rows
        return squared_error(codes_BM @ W + b_dec - problem.x_BD)

    return Step((W, b_dec), forward)


def _forced(form: str) -> Callable[[Problem], Step]:
    return lambda problem: _ours_untied(problem, form=form)


OURS = (
    Contestant(name="ours", operation="mp", build=_ours_untied, ours=True),
    Contestant(name="ours, tied", operation="mp-tied", build=_ours_tied, ours=True),
    Contestant(
        name="ours, sliced", operation="mp-sliced", build=lambda problem: _ours_untied(problem, sliced=True), ours=True
    ),
    Contestant(name="ours, update form", operation="mp", build=_forced("update"), ours=True),
    Contestant(name="ours, recompute form", operation="mp", build=_forced("recompute"), ours=True),
    Contestant(name="ours, update form, H given", operation="mp", build=_ours_update_given_gram, ours=True),
    Contestant(name="ours, TopK", operation="topk", build=_ours_topk, ours=True),
)
STRAIGHTFORWARD = (
    Contestant(name="autograd with gather", operation="mp", build=_plain),
    Contestant(name="sae-lens' method", operation="mp-tied", build=_dense_codes),
    Contestant(name="the study's method", operation="mp", build=_dense_steps, bfloat16_on_cuda=True),
)
