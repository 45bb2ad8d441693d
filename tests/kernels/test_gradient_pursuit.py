"""Gradient pursuit against the reference."""

import pytest
import torch
from hypothesis import assume, given
from torch import Tensor

from kernels import (
    gradient_pursuit,
    gradient_pursuit_step,
    matching_pursuit,
    orthogonal_pursuit,
    reference,
    sparse_decode,
    sparse_scores,
    study_gradient_pursuit,
)
from kernels.rules import Rules
from tests.support.pursuits import PursuitProblem, leaves, pursuit_problems
from tests.support.refits import SETTINGS, compare


def first_half_is_last(W: Tensor) -> bool:
    """Whether a problem was drawn with twins, which tie."""
    return len(W) > 1 and torch.equal(W[len(W) // 2], W[0])


def trim(problem: PursuitProblem, tokens: int, k: int) -> PursuitProblem:
    """The references go token by token."""
    rules = Rules(k=min(problem.rules.k, k), sliced=problem.rules.sliced)
    return problem._replace(r0=problem.r0[:tokens], rules=rules)


def plain_gradient_pursuit(r0: Tensor, W_enc: Tensor, b_enc: Tensor | None, W_dec: Tensor, rules: Rules) -> tuple:
    return reference.gradient_pursuit(r0, W_enc, b_enc, W_dec, rules.k, sliced=rules.sliced)


def closest_call(r0: Tensor, W_enc: Tensor, b_enc: Tensor | None, W_dec: Tensor, rules: Rules) -> float:
    """The smallest distance to where a choice, a stop or a clipped coefficient would come out otherwise."""
    nearest, indices = float("inf"), torch.zeros(len(r0), 0, dtype=torch.int64)
    for k in range(1, rules.k + 1):
        residual = r0
        if k > 1:
            acts, indices, residual = reference.gradient_pursuit(r0, W_enc, b_enc, W_dec, k - 1)
        scores = residual @ W_enc.T + (0 if b_enc is None else b_enc)
        best = scores.scatter(1, indices, -torch.inf).topk(min(2, len(W_enc) - k + 1), dim=1).values
        nearest = min(nearest, float(best[:, 0].abs().min()))
        if best.shape[1] == 2:
            nearest = min(nearest, float((best[:, 0] - best[:, 1]).masked_fill(best[:, 0] < 0, torch.inf).min()))
        if k > 1 and (positive := acts[acts > 0]).numel():
            nearest = min(nearest, float(positive.min()))
    return nearest


@SETTINGS
@given(problem=pursuit_problems())
def test_gradient_pursuit_in_float64_equals_the_reference(scores, problem):
    assume(problem.decoder.ndim == 2 and not first_half_is_last(problem.W_enc))
    problem = trim(problem, tokens=4, k=4)
    exact = problem.leaves(torch.float64)
    expected = plain_gradient_pursuit(exact.r0, exact.W_enc, exact.b_enc, exact.decoder, exact.rules)
    ours = problem.leaves(torch.float64)
    outputs = gradient_pursuit(ours.r0, ours.W_enc, ours.b_enc, ours.decoder, ours.rules.k, sliced=ours.rules.sliced)
    torch.testing.assert_close(outputs[2], expected[2], rtol=1e-8, atol=1e-8 * float(expected[0].detach().max() + 1))
    if not problem.rules.sliced:
        assume(closest_call(*problem[:3], problem.decoder, problem.rules) > 1e-6)
        active = expected[0] > 1e-9
        assert torch.equal(outputs[1][active], expected[1][active])
    pairs = [(a, b) for a, b in zip(ours[:4], exact[:4], strict=True) if a is not None]
    compare(*map(list, zip(*pairs, strict=True)), outputs, expected, 1e-8)


def separate(tokens: int, width: int, latents: int, k: int, sliced: bool, seed: int) -> tuple[list[Tensor], Rules]:
    """A problem whose choices do not hang on rounding in float32: tokens that are near a tie are left out."""
    generator = torch.Generator().manual_seed(seed)
    x, W_enc, W_dec = (
        torch.randn(n, width, generator=generator, dtype=torch.float64) for n in (tokens, latents, latents)
    )
    W_dec = torch.nn.functional.normalize(W_enc + 0.3 * W_dec, dim=1)
    b_enc, rules = 0.1 * torch.randn(latents, generator=generator, dtype=torch.float64), Rules(k=k, sliced=sliced)
    W_enc = W_enc / width**0.5
    clear = [i for i in range(tokens) if closest_call(x[i : i + 1], W_enc, b_enc, W_dec, rules) > 1e-3]
    return [x[clear], W_enc, b_enc, W_dec], rules


@pytest.mark.parametrize("shape", [(20, 3, 7, 1), (20, 16, 67, 4), (12, 33, 257, 6), (5, 8, 8, 8)], ids=str)
def test_gradient_pursuit_equals_the_reference_in_any_precision(way, scores, shape):
    dtype, tolerance = way
    tensors, rules = separate(*shape, sliced=False, seed=0)
    assert len(tensors[0]) > 0
    ours, exact = leaves(*tensors, dtype=dtype), leaves(*tensors)
    outputs, expected = gradient_pursuit(*ours, rules.k), plain_gradient_pursuit(*exact, rules)
    assert torch.equal(outputs[1][expected[0] > 1e-3], expected[1][expected[0] > 1e-3])
    compare(ours, exact, outputs, expected, tolerance)


@SETTINGS
@given(problem=pursuit_problems())
def test_gradient_pursuit_holds_together_in_float32(way, scores, problem):
    """Whatever ties there are: distinct latents of each slice, activations of 0 or more, and the residual of those."""
    assume(problem.decoder.ndim == 2)
    dtype, _ = way
    ours = problem.leaves(dtype)
    rules = ours.rules
    acts, indices, residual = gradient_pursuit(
        ours.r0, ours.W_enc, ours.b_enc, ours.decoder, rules.k, sliced=rules.sliced
    )
    assert acts.min() >= 0 and torch.isfinite(acts).all()
    assert all(len(set(row)) == rules.k for row in indices.tolist())
    for step, column in enumerate(indices.T):
        low, high = rules.slice_bounds(step, len(ours.W_enc))
        assert ((low <= column) & (column < high)).all()
    left = ours.r0.double() - reference.sparse_decode(acts.double(), indices, ours.decoder.double())
    torch.testing.assert_close(residual.double(), left, rtol=1e-4, atol=1e-4 * float(1 + acts.detach().max()))
    (residual.pow(2).sum() + acts.sum()).backward()
    assert all(t is None or t.grad is None or torch.isfinite(t.grad).all() for t in ours[:4])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_one_latent_that_fits_already_has_the_gradient_of_its_fit(dtype):
    """A unit row's product with the input is the best coefficient: what is left to step along is rounding."""
    generator = torch.Generator().manual_seed(0)
    x, D = torch.randn(200, 24, generator=generator).to(dtype), torch.randn(60, 24, generator=generator).to(dtype)
    D, b_enc = torch.nn.functional.normalize(D, dim=1), torch.zeros(60, dtype=dtype)
    indices = gradient_pursuit(x, D, b_enc, D, 1)[1]
    acts = torch.relu(sparse_scores(x, indices, D))
    slope = sparse_scores(x - sparse_decode(acts, indices, D), indices, D)
    x = x[((acts > 0) & (slope != 0))[:, 0]]  # exactly 0 is no step at all
    assert len(x) > 50
    ours, exact = leaves(x, D, b_enc, dtype=dtype), leaves(x, D)
    acts, indices, _ = gradient_pursuit(ours[0], ours[1], ours[2], ours[1], 1)
    row = exact[1][indices[:, 0]]
    fit = (row * exact[0]).sum(dim=1) / row.pow(2).sum(dim=1)
    torch.testing.assert_close(acts[:, 0].double(), fit, rtol=1e-5, atol=1e-5)
    acts.sum().backward()
    fit.sum().backward()
    for mine, theirs in zip(ours, [*(t.grad for t in exact), torch.zeros(60).double()], strict=True):
        torch.testing.assert_close(mine.grad.double(), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 3, 7, 1), (7, 16, 67, 5), (33, 33, 257, 9)], ids=str)
def test_a_step_on_one_dictionary_of_what_another_leaves(way, shape):
    dtype, tolerance = way
    tokens, width, latents, k = shape
    generator = torch.Generator().manual_seed(0)
    x, D, W = (torch.randn(n, width, generator=generator, dtype=torch.float64) for n in (tokens, latents, latents))
    acts, indices = reference.topk_encode(x, D / width, None, k)
    ours, exact = leaves(x, acts, D, W, dtype=dtype), leaves(x, acts, D, W)
    moved = gradient_pursuit_step(ours[0], ours[1], indices, ours[2], ours[3])
    expected = reference.gradient_pursuit_step(exact[0], exact[1], indices, exact[2], exact[3])
    residual = x - (acts[:, :, None] * W[indices]).sum(dim=1)  # as DESIGN writes it
    g = (D[indices] * residual[:, None]).sum(dim=2)
    c = (g[:, :, None] * D[indices]).sum(dim=1)
    step = (c * residual).sum(dim=1, keepdim=True) / (c * c).sum(dim=1, keepdim=True)
    torch.testing.assert_close(expected.detach(), torch.relu(acts + step * g), rtol=1e-9, atol=1e-9)
    compare(ours, exact, (moved, None, moved), (expected, None, expected), tolerance)


def test_refits_of_inputs_without_any_score_stay_at_zero():
    W = torch.eye(4)
    acts, _, residual = gradient_pursuit(-torch.ones(3, 4), W, None, W, 3)
    assert not acts.any() and torch.equal(residual, -torch.ones(3, 4))
    acts, _, residual = orthogonal_pursuit(-torch.ones(3, 4), W, 3)
    assert not acts.any() and torch.equal(residual, -torch.ones(3, 4))


def test_the_studys_coefficients_counted_twice_leave_more_than_no_step_at_all() -> None:
    """The figures of docs/study.md: its gradient step, that of the paper, and plain matching pursuit."""
    drawn = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(512, 64, generator=drawn, dtype=torch.float64), dim=1)
    x = torch.randn(400, 64, generator=drawn, dtype=torch.float64)
    without_bias = torch.zeros(64, dtype=torch.float64)
    left = [
        study_gradient_pursuit(x, without_bias, rows, None, rows, k=8)[2],
        gradient_pursuit(x, rows, None, rows, k=8)[2],
        matching_pursuit(x, rows, None, rows, k=8)[2],
    ]
    assert [round(float(r.square().sum() / x.square().sum()), 3) for r in left] == [0.442, 0.366, 0.390]
