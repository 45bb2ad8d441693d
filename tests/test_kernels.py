"""Every operation against its plain float64 reference, values and gradients, over awkward shapes."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import decoder_gram, matching_pursuit, reference, sparse_decode, topk_encode
from kernels.mp_forms import choose_form
from kernels.rows import row_argmax

SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """Input, encoder, bias, unit-norm decoder and k; sizes around and across tile edges, some rows zero."""
    tokens = draw(st.sampled_from([1, 2, 7, 63, 65, 130]), label="B")
    width = draw(st.sampled_from([1, 3, 16, 33]), label="d")
    latents = draw(st.sampled_from([1, 2, 13, 67, 257, 300]), label="M")
    k = draw(st.integers(1, min(latents, 9)), label="k")
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31), label="seed"))
    x = torch.randn(tokens, width, generator=generator, dtype=torch.float64)
    if draw(st.booleans(), label="zero row"):
        x[0] = 0
    W_enc = torch.randn(latents, width, generator=generator, dtype=torch.float64) / width**0.5
    W_dec = torch.nn.functional.normalize(torch.randn(latents, width, generator=generator, dtype=torch.float64), dim=1)
    b_enc = draw(st.sampled_from([0.0, 0.3, -0.3, -100.0]), label="bias") + 0.1 * torch.randn(
        latents, generator=generator, dtype=torch.float64
    )
    return x, W_enc, b_enc, W_dec, k


def leaves(*tensors: Tensor) -> list[Tensor]:
    return [t.detach().clone().requires_grad_() for t in tensors]


def assert_same_gradients(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for mine, reference_leaf in zip(ours, theirs, strict=True):
        expected = torch.zeros_like(reference_leaf) if reference_leaf.grad is None else reference_leaf.grad
        torch.testing.assert_close(mine.grad, expected, rtol=1e-9, atol=1e-9)


@SETTINGS
@given(problem=problems(), detach=st.booleans(), form=st.sampled_from(["update", "recompute"]))
def test_matching_pursuit_equals_reference(problem, detach, form):
    *tensors, k = problem
    ours, theirs = leaves(*tensors), leaves(*tensors)
    acts, indices, residual = matching_pursuit(*ours, k, detach_residual=detach, form=form)
    ref_acts, ref_indices, ref_residual = reference.matching_pursuit(*theirs, k, detach_residual=detach)
    torch.testing.assert_close(acts, ref_acts, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(residual, ref_residual, rtol=1e-9, atol=1e-9)
    active = ref_acts > 1e-12
    assert torch.equal(indices[active], ref_indices[active])
    weights = torch.linspace(-1, 1, acts.numel(), dtype=torch.float64).view_as(acts)
    for a, r in ((acts, residual), (ref_acts, ref_residual)):
        (r.pow(2).sum() + (a * weights).sum()).backward()
    assert_same_gradients(ours, theirs)


@SETTINGS
@given(problem=problems())
def test_topk_encode_and_decode_equal_reference(problem):
    x, W_enc, b_enc, W_dec, k = problem
    ours, theirs = leaves(x, W_enc, b_enc, W_dec), leaves(x, W_enc, b_enc, W_dec)
    acts, indices = topk_encode(*ours[:3], k)
    ref_acts, ref_indices = reference.topk_encode(*theirs[:3], k)
    torch.testing.assert_close(acts, ref_acts, rtol=1e-9, atol=1e-9)
    out, ref_out = sparse_decode(acts, indices, ours[3]), reference.sparse_decode(ref_acts, ref_indices, theirs[3])
    torch.testing.assert_close(out, ref_out, rtol=1e-9, atol=1e-9)
    (out - x).pow(2).sum().backward()
    (ref_out - x).pow(2).sum().backward()
    assert_same_gradients(ours, theirs)


@pytest.mark.parametrize("form", ["update", "recompute"])
@pytest.mark.parametrize(
    ("tokens", "width", "latents", "k"), [(1, 1, 1, 1), (3, 5, 11, 11), (130, 16, 257, 1)], ids=["one", "k=M", "k=1"]
)
def test_gradcheck(form, tokens, width, latents, k):
    generator = torch.Generator().manual_seed(0)
    shapes = [(tokens, width), (latents, width), (latents,), (latents, width)]
    x, W_enc, b_enc, W_dec = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    W_dec = torch.nn.functional.normalize(W_dec, dim=1)
    if tokens * latents > 1000:  # numerical differentiation of a few tokens says as much as of many
        x = x[:2]
    inputs = leaves(x, W_enc, b_enc, W_dec)
    assert torch.autograd.gradcheck(
        lambda *t: [o for o in matching_pursuit(*t, k, form=form) if o.is_floating_point()], inputs
    )


@pytest.mark.parametrize("form", ["update", "recompute"])
def test_ties_choose_distinct_latents_and_the_same_values(form):
    W_enc = torch.ones(6, 4)
    W_dec = torch.nn.functional.normalize(torch.eye(6, 4) + 0.1, dim=1)
    x, b_enc = torch.ones(3, 4), torch.zeros(6)
    acts, indices, residual = matching_pursuit(x, W_enc, b_enc, W_dec, 6, form=form)
    assert all(len(set(row)) == 6 for row in indices.tolist())
    torch.testing.assert_close(residual, x - reference.sparse_decode(acts, indices, W_dec))
    assert torch.equal(acts[:, 0], torch.full((3,), 4.0))


@pytest.mark.parametrize("form", ["update", "recompute"])
def test_a_token_without_positive_scores_has_stopped(form):
    x, W = torch.randn(5, 8), torch.randn(20, 8)
    acts, _, residual = matching_pursuit(x, W, torch.full((20,), -1e6), W, 4, form=form)
    assert torch.equal(acts, torch.zeros(5, 4))
    assert torch.equal(residual, x)


def test_float32_choices_match_float64():
    generator = torch.Generator().manual_seed(0)
    x, W_enc = torch.randn(256, 64, generator=generator), torch.randn(512, 64, generator=generator) / 8
    W_dec = torch.nn.functional.normalize(W_enc, dim=1)
    b_enc = torch.zeros(512)
    expected = reference.matching_pursuit(x.double(), W_enc.double(), b_enc.double(), W_dec.double(), 16)
    for form in ("update", "recompute"):
        _, indices, residual = matching_pursuit(x, W_enc, b_enc, W_dec, 16, form=form)
        assert (indices == expected[1]).float().mean() > 0.999
        fvu, expected_fvu = residual.pow(2).sum() / x.pow(2).sum(), expected[2].pow(2).sum() / x.pow(2).sum()
        assert abs(fvu - expected_fvu) < 1e-5


@SETTINGS
@given(rows=st.integers(1, 5), columns=st.sampled_from([1, 127, 128, 255, 256, 257, 400]), seed=st.integers(0, 999))
def test_row_argmax(rows, columns, seed):
    scores = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    scores[:, :: columns // 3 + 1] = -torch.inf
    assert torch.equal(row_argmax(scores), scores.argmax(dim=1))


def test_cost_model_updates_for_many_tokens_and_recomputes_for_few_or_when_the_gram_is_too_large():
    assert choose_form(2048, 64, 4608, 576, 4) == "update"
    assert choose_form(8, 4, 4608, 576, 4) == "recompute"
    assert choose_form(2**16, 64, 2**17, 576, 4) == "recompute"


BAD_CALLS = {
    "W_enc": lambda x, W, b: matching_pursuit(x, W[:, :2], b, W, 2),
    "W_dec": lambda x, W, b: matching_pursuit(x, W, b, W[:3], 2),
    "b_enc": lambda x, W, b: matching_pursuit(x, W, b[:1], W, 2),
    "k": lambda x, W, b: matching_pursuit(x, W, b, W, 99),
    "form": lambda x, W, b: matching_pursuit(x, W, b, W, 2, form="fast"),
    "gram": lambda x, W, b: matching_pursuit(x, W, b, W, 2, gram=W),
    "r0": lambda x, W, b: matching_pursuit(x.half(), W, b, W, 2),
    "x": lambda x, W, b: topk_encode(x[0], W, b, 2),
    "indices": lambda x, W, b: sparse_decode(x, torch.zeros(2, 1, dtype=torch.int64), W),
    "acts": lambda x, W, b: sparse_decode(x.double(), torch.zeros(2, 4, dtype=torch.int64), W),
}


@pytest.mark.parametrize("argument", BAD_CALLS)
def test_bad_arguments_are_named(argument):
    with pytest.raises(ValueError, match=rf"^{argument} "):
        BAD_CALLS[argument](torch.randn(2, 4), torch.randn(10, 4), torch.zeros(10))


def test_a_given_gram_changes_nothing():
    x, W, b = torch.randn(9, 4), torch.randn(10, 4), torch.zeros(10)
    given_gram = matching_pursuit(x, W, b, W, 3, gram=decoder_gram(W, W))
    own_gram = matching_pursuit(x, W, b, W, 3, form="update")
    assert all(torch.equal(given, own) for given, own in zip(given_gram, own_gram, strict=True))
