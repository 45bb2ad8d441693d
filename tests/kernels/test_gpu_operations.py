"""The public operations on the Triton back end: on a GPU if there is one, through the interpreter otherwise."""

import pytest
import torch

from kernels import (
    cpu,
    decoder_gram,
    gpu,
    gradient_pursuit_step,
    matching_pursuit,
    reference,
    sparse_decode,
    topk_encode,
)
from kernels.backend import backend_of
from kernels.rules import Rules
from tests.support.pursuits import PursuitProblem, assert_is_a_pursuit, assert_same_gradients

pytestmark = pytest.mark.gpu
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CASES = {
    "untied": (Rules(k=4), 0.1, (70, 20)),
    "tied": (Rules(k=4, repeats=True), None, None),
    "sliced": (Rules(k=4, sliced=True), 0.1, (70, 20)),
    "per step": (Rules(k=4), 0.1, (4, 70, 20)),
    "threshold": (Rules(k=4, residual_threshold=3.0), 0.1, (70, 20)),
}


@pytest.fixture(autouse=True)
def triton_back_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURSUIT_BACKEND", "triton")


def make_problem(name: str) -> PursuitProblem:
    rules, bias, decoder = CASES[name]
    generator = torch.Generator().manual_seed(0)
    r0, W_enc = torch.randn(6, 20, generator=generator), torch.randn(70, 20, generator=generator)
    W_dec = (
        None if decoder is None else torch.nn.functional.normalize(torch.randn(decoder, generator=generator), dim=-1)
    )
    W_enc = torch.nn.functional.normalize(W_enc, dim=1)
    b_enc = None if bias is None else bias * torch.randn(70, generator=generator)
    return PursuitProblem(r0, W_enc, b_enc, W_dec, rules).leaves(torch.float32, DEVICE)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("form", ["auto", "update", "recompute"])
@pytest.mark.parametrize("deterministic", [False, True], ids=["atomic", "deterministic"])
def test_matching_pursuit(name, form, deterministic):
    if form == "update" and name in ("sliced", "per step"):
        return
    problem = make_problem(name)
    r0, W_enc, b_enc, _, rules, _ = problem
    torch.use_deterministic_algorithms(deterministic)
    try:
        outputs = matching_pursuit(r0, W_enc, b_enc, problem.decoder, rules.k, form=form, **problem.options())
        assert_is_a_pursuit(problem, *outputs, tolerance=1e-5)
        assert_same_gradients(problem, outputs, detach_residual=False, tolerance=1e-4)
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_given_gram_is_used_in_the_dtype_it_is_made_in():
    r0, W_enc, b_enc, W_dec, rules, _ = make_problem("untied")
    gram = decoder_gram(W_dec, W_enc)
    assert gram.dtype == torch.float16
    given = matching_pursuit(r0, W_enc, b_enc, W_dec, rules.k, gram=gram)
    own = matching_pursuit(r0, W_enc, b_enc, W_dec, rules.k, form="update")
    assert all(torch.equal(a, b) for a, b in zip(given, own, strict=True))


def test_topk_decode_and_gradient_pursuit():
    problem = make_problem("untied")
    mine, twin = problem.leaves(torch.float32, DEVICE), problem.leaves(torch.float64)
    acts, indices = topk_encode(mine.r0, mine.W_enc, mine.b_enc, 5)
    ref_acts, ref_indices = reference.topk_encode(twin.r0, twin.W_enc, twin.b_enc, 5)
    assert torch.equal(indices.cpu(), ref_indices)
    out = sparse_decode(gradient_pursuit_step(mine.r0, acts, indices, mine.W_dec), indices, mine.W_dec)
    moved = reference.gradient_pursuit_step(twin.r0, ref_acts, ref_indices, twin.W_dec)
    ref_out = reference.sparse_decode(moved, ref_indices, twin.W_dec)
    torch.testing.assert_close(out.cpu().double(), ref_out, rtol=1e-4, atol=1e-4)
    out.pow(2).sum().backward()
    ref_out.pow(2).sum().backward()
    for a, b in zip(mine[:4], twin[:4], strict=True):
        torch.testing.assert_close(a.grad.cpu().double(), b.grad, rtol=1e-3, atol=1e-3)


def test_float64_takes_the_other_back_end_and_screening_is_refused():
    problem = make_problem("untied")
    assert backend_of(problem.r0) is gpu
    assert backend_of(problem.r0.double()) is cpu
    r0, W_enc, b_enc, W_dec, rules, _ = problem
    with pytest.raises(ValueError, match=r"^form is 'screen'"):
        matching_pursuit(r0, W_enc, b_enc, W_dec, rules.k, form="screen")
