"""Pursuits that refit their coefficients, against their plain float64 references: values, gradients, errors."""

from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import (
    gradient_pursuit,
    gradient_pursuit_step,
    matching_pursuit,
    orthogonal_pursuit,
    reference,
    sparse_decode,
    sparse_scores,
)
from kernels.cpu import native
from kernels.rules import Rules
from kernels.scores import Chooser
from tests.support.pursuits import PursuitProblem, leaves, pursuit_problems

SETTINGS = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
WAYS = {
    "float64": (torch.float64, True, 1e-8),
    "float32": (torch.float32, True, 1e-3),
    "float32 without a compiler": (torch.float32, False, 1e-3),
}
"""dtype, whether the compiled extension may serve, and the tolerance that a ratio of squares affords in it."""


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[torch.dtype, float]:
    dtype, may_compile, tolerance = WAYS[request.param]
    if not may_compile:
        monkeypatch.setattr(native, "library", lambda: None)
    return dtype, tolerance


@pytest.fixture(params=["gram", "product"])
def scores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How scores are obtained, whatever costs less for the shapes at hand."""
    monkeypatch.setattr(Chooser, "_rows_are_cheaper", lambda *_: request.param == "gram")
    return request.param


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_scores_come_from_rows_of_the_gram_matrix_where_those_are_cheaper(dtype):
    W = torch.zeros(4096, 768, dtype=dtype)
    few, many = (Chooser(W[:9], W, None, W, Rules(k=k)).gram is not None for k in (4, 4096))
    assert few and not many
    assert Chooser(W[:9], W, None, W, Rules(k=4, sliced=True)).gram is None


def first_half_is_last(W: Tensor) -> bool:
    """Whether a problem was drawn with twins, which tie."""
    return len(W) > 1 and torch.equal(W[len(W) // 2], W[0])


def trim(problem: PursuitProblem, tokens: int, k: int) -> PursuitProblem:
    """The references go token by token."""
    rules = Rules(k=min(problem.rules.k, k), sliced=problem.rules.sliced)
    return problem._replace(r0=problem.r0[:tokens], rules=rules)


def compare(ours: list[Tensor], exact: list[Tensor], outputs: tuple, expected: tuple, tolerance: float) -> None:
    """Activations, residual and the gradients of a function of both."""
    (acts, _, residual), (ref_acts, _, ref_residual) = outputs, expected
    size = 1 + float(ref_acts.detach().abs().max())
    torch.testing.assert_close(acts.double(), ref_acts, rtol=tolerance, atol=tolerance * size)
    torch.testing.assert_close(residual.double(), ref_residual, rtol=tolerance, atol=tolerance * size)
    weights = torch.linspace(-1, 1, acts.numel(), dtype=torch.float64).view(acts.shape)
    (residual.pow(2).sum() + (acts * weights.to(acts)).sum()).backward()
    (ref_residual.pow(2).sum() + (ref_acts * weights).sum()).backward()
    for mine, theirs in zip(ours, exact, strict=True):
        wanted = torch.zeros_like(theirs) if theirs.grad is None else theirs.grad
        found = torch.zeros_like(mine) if mine.grad is None else mine.grad
        atol = 30 * tolerance * (float(wanted.abs().max()) + size)
        torch.testing.assert_close(found.double(), wanted, rtol=30 * tolerance, atol=atol)


# ---- gradient pursuit


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


# ---- orthogonal pursuit

DICTIONARIES = ["normal", "unit", "twins", "near twins", "low rank", "correlated", "zero rows"]


@st.composite
def dictionaries(draw: st.DrawFn) -> tuple[Tensor, Tensor, int]:
    """Inputs, dictionary and k; also more steps than the dictionary has rank. float64."""
    width = draw(st.sampled_from([1, 3, 8, 33]), label="d")
    latents = draw(st.sampled_from([1, 5, 40, 257]), label="M")
    k = draw(st.sampled_from([1, 4, width, width + 3]), label="k")
    kind = draw(st.sampled_from(DICTIONARIES), label="kind")
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31), label="seed"))
    x = torch.randn(9, width, generator=generator, dtype=torch.float64)
    D = torch.randn(latents, width, generator=generator, dtype=torch.float64)
    half = latents - latents // 2
    noise = torch.randn(latents // 2, width, generator=generator, dtype=torch.float64)
    if kind == "twins":
        D[half:] = D[: latents // 2]
    elif kind == "near twins":
        D[half:] = D[: latents // 2] + draw(st.sampled_from([0.1, 0.01, 1e-3, 1e-4, 1e-6]), label="apart") * noise
    elif kind == "low rank":
        rank = max(1, width // 3)
        D = D[:, :rank] @ torch.randn(rank, width, generator=generator, dtype=torch.float64)
    elif kind == "correlated":
        D = 0.1 * D + torch.randn(width, generator=generator, dtype=torch.float64)
    elif kind == "zero rows":
        D[half:] = 0
    if kind != "normal":
        D = torch.nn.functional.normalize(D, dim=1)
    x[0] = 0
    return x, D, min(k, latents)


def least_error(x: Tensor, D: Tensor, indices: Tensor, acts: Tensor) -> Tensor:
    """Length of what the active latents must leave of each token, [B]."""
    rows = D[indices] * (acts != 0)[:, :, None]
    best = torch.linalg.lstsq(rows.mT, x[:, :, None], rcond=1e-12, driver="gelsd").solution
    return (x - (rows.mT @ best)[:, :, 0]).norm(dim=1)


@settings(SETTINGS, max_examples=40)
@given(problem=dictionaries())
def test_orthogonal_pursuit_leaves_the_least_that_its_latents_allow(way, scores, problem):
    dtype, _ = way
    x, D, k = problem
    ours = leaves(x, D, dtype=dtype)
    acts, indices, residual = orthogonal_pursuit(*ours, k)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    assert torch.isfinite(acts).all()
    assert all(len(set(row)) == k for row in indices.tolist())
    x, D = (t.detach().double() for t in ours)
    found = residual.detach().double()
    size = x.norm(dim=1) + 1e-30
    rebuilt = x - reference.sparse_decode(acts.detach().double(), indices, D)
    rounding = torch.finfo(dtype).eps * 100 * (1 + float(acts.detach().abs().max()))
    assert ((found - rebuilt).norm(dim=1) <= rounding * (1 + size)).all()
    excess = (found.norm(dim=1) - least_error(x, D, indices, acts.detach())) / size
    assert excess.max() <= tolerance
    (residual.pow(2).sum() + 1e-3 * acts.sum()).backward()
    assert all(torch.isfinite(t.grad).all() for t in ours)


@SETTINGS
@given(problem=dictionaries())
def test_orthogonal_pursuit_in_float64_equals_the_reference(scores, problem):
    x, D, k = problem
    assume(torch.linalg.matrix_rank(D, rtol=1e-3) == min(D.shape) or len(D) == 1)
    exact, ours = leaves(x, D), leaves(x, D)
    expected, outputs = reference.orthogonal_pursuit(*exact, k), orthogonal_pursuit(*ours, k)
    rows = D[expected[1]] * (expected[0] != 0)[:, :, None]
    spectrum = torch.linalg.svdvals(rows)
    smallest = torch.where(spectrum > 1e-14, spectrum, torch.inf).min()
    assume(smallest > 1e-2)  # the reference is a pseudo-inverse, which loses digits where rows are nearly alike
    torch.testing.assert_close(outputs[2], expected[2], rtol=1e-8, atol=1e-8)
    assume(torch.equal(outputs[1][expected[0] != 0], expected[1][expected[0] != 0]))  # ties
    compare(ours, exact, outputs, expected, 1e-7)


@pytest.mark.parametrize("shape", [(20, 3, 7, 1), (20, 16, 67, 4), (12, 33, 257, 6), (5, 8, 8, 8)], ids=str)
def test_orthogonal_pursuit_equals_the_reference_in_any_precision(way, scores, shape):
    dtype, tolerance = way
    tokens, width, latents, k = shape
    generator = torch.Generator().manual_seed(3)
    x, D = (torch.randn(n, width, generator=generator, dtype=torch.float64) for n in (tokens, latents))
    D = torch.nn.functional.normalize(D, dim=1)
    acts, indices, _ = reference.orthogonal_pursuit(x, D, k)
    same = ((orthogonal_pursuit(x.to(dtype), D.to(dtype), k)[1] == indices) | (acts == 0)).all(dim=1)
    assert same.double().mean() > 0.8
    ours, exact = leaves(x[same], D, dtype=dtype), leaves(x[same], D)
    compare(ours, exact, orthogonal_pursuit(*ours, k), reference.orthogonal_pursuit(*exact, k), tolerance)


def test_orthogonal_pursuit_reaches_the_input_with_as_many_steps_as_dimensions():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 6, generator=generator, dtype=torch.float64)
    D = torch.nn.functional.normalize(torch.randn(40, 6, generator=generator, dtype=torch.float64), dim=1)
    errors = [orthogonal_pursuit(x, D, k)[2].norm(dim=1) for k in range(1, 10)]
    assert all((after <= before + 1e-12).all() for before, after in pairwise(errors))
    assert errors[-1].max() < 1e-10
    matched = matching_pursuit(x, D, None, D, 1)[2].norm(dim=1)
    torch.testing.assert_close(errors[0], matched)


def test_least_squares_may_weigh_a_latent_below_zero():
    D = torch.nn.functional.normalize(torch.tensor([[1.0, 0.9, 0.0], [1.0, 0.0, 0.1], [0.0, 1.0, 0.1]]), dim=1)
    x = torch.tensor([[1.0, 1.0, 0.9]])
    acts, indices, residual = orthogonal_pursuit(x, D, 3)
    assert indices[0, 0] == 0 and acts[0, 0] < 0
    assert residual.norm() < 1e-5


def test_gradcheck_of_orthogonal_and_gradient_pursuit():
    generator = torch.Generator().manual_seed(0)
    x, W_enc, W_dec = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (2, 5, 5))
    b_enc = torch.randn(5, generator=generator, dtype=torch.float64)
    inputs = leaves(x, W_enc, b_enc, torch.nn.functional.normalize(W_dec, dim=1))
    assert torch.autograd.gradcheck(lambda *t: gradient_pursuit(*t, 3)[::2], inputs)
    assert torch.autograd.gradcheck(lambda *t: gradient_pursuit(*t, 3, sliced=True)[::2], inputs)
    assert torch.autograd.gradcheck(lambda *t: orthogonal_pursuit(*t, 3)[::2], inputs[:2])
    assert torch.autograd.gradcheck(lambda *t: orthogonal_pursuit(*t, 5)[::2], inputs[:2])


# ---- arguments

BAD_CALLS = {
    "r0": lambda x, W, b: gradient_pursuit(x[0], W, b, W, 2),
    "r0 is torch.float16": lambda x, W, b: orthogonal_pursuit(x.half(), W, 2),
    "W_enc": lambda x, W, b: gradient_pursuit(x, W[:, :2], b, W, 2),
    "W_dec": lambda x, W, b: gradient_pursuit(x, W, b, W[:3], 2),
    "W_dec has shape": lambda x, W, b: gradient_pursuit(x, W, b, W.expand(2, 10, 4), 2),
    "W_dec is torch.float64": lambda x, W, b: gradient_pursuit(x, W, b, W.double(), 2),
    "b_enc": lambda x, W, b: gradient_pursuit(x, W, b[:1], W, 2),
    "b_enc is torch.float64": lambda x, W, b: gradient_pursuit(x, W, b.double(), W, 2),
    "k is 0": lambda x, W, b: gradient_pursuit(x, W, b, W, 0),
    "k is 11": lambda x, W, b: orthogonal_pursuit(x, W, 11),
    "k is -1": lambda x, W, b: orthogonal_pursuit(x, W, -1),
    "dictionary": lambda x, W, b: orthogonal_pursuit(x, W[:, :2], 2),
    "dictionary has": lambda x, W, b: orthogonal_pursuit(x, W[0], 2),
    "dictionary is torch.float64": lambda x, W, b: orthogonal_pursuit(x, W.double(), 2),
    "x has": lambda x, W, b: gradient_pursuit_step(x[:, :3], x, b[:8].long().view(2, 4), W),
    "x is": lambda x, W, b: gradient_pursuit_step(x.double(), x, b[:8].long().view(2, 4), W),
    "acts": lambda x, W, b: gradient_pursuit_step(x, x.double(), b[:8].long().view(2, 4), W),
    "acts has": lambda x, W, b: gradient_pursuit_step(x, x[:1], b[:4].long().view(1, 4), W),
    "indices": lambda x, W, b: gradient_pursuit_step(x, x, b[:2].long().view(2, 1), W),
    "dictionary h": lambda x, W, b: gradient_pursuit_step(x, x, b[:8].long().view(2, 4), W[0]),
    "decoder": lambda x, W, b: gradient_pursuit_step(x, x, b[:8].long().view(2, 4), W, W[:, :2]),
    "decoder has": lambda x, W, b: gradient_pursuit_step(x, x, b[:8].long().view(2, 4), W, W[:3]),
    "decoder is": lambda x, W, b: gradient_pursuit_step(x, x, b[:8].long().view(2, 4), W, W.double()),
}


@pytest.mark.parametrize("argument", BAD_CALLS)
def test_bad_arguments_are_named(argument):
    with pytest.raises(ValueError, match=rf"^{argument}[^\n]*$"):
        BAD_CALLS[argument](torch.randn(2, 4), torch.randn(10, 4), torch.zeros(10))


@pytest.mark.parametrize("pursuit", [gradient_pursuit, orthogonal_pursuit], ids=["gradient", "orthogonal"])
def test_no_tokens_are_no_trouble(pursuit, scores):
    W = torch.randn(10, 4)
    arguments = (W, None, W, 3) if pursuit is gradient_pursuit else (W, 3)
    acts, indices, residual = pursuit(torch.zeros(0, 4), *arguments)
    assert (acts.shape, indices.shape, residual.shape) == ((0, 3), (0, 3), (0, 4))
    assert sparse_decode(acts, indices, W).shape == (0, 4)
