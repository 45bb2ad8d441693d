"""Orthogonal pursuit against the reference."""

from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import (
    gradient_pursuit,
    matching_pursuit,
    orthogonal_pursuit,
    reference,
)
from tests.support.pursuits import leaves
from tests.support.refits import SETTINGS, compare

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
