"""Every operation against its plain float64 reference, values and gradients, over awkward shapes."""

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import (
    cpu,
    gradient_pursuit_step,
    matching_pursuit,
    reference,
    sparse_decode,
    sparse_scores,
    topk_encode,
)
from kernels.cpu import native
from kernels.cpu.rows import row_argmax
from kernels.forms import best_form
from kernels.rules import Rules
from tests.support.pursuits import (
    PursuitProblem,
    assert_is_a_pursuit,
    assert_same_gradients,
    assert_within,
    leaves,
    pursuit_problems,
    replay,
)

SETTINGS = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
WAYS = {
    "float64": (torch.float64, True, 1e-9),
    "float32": (torch.float32, True, 2e-5),
    "float32 without a compiler": (torch.float32, False, 2e-5),
}
"""dtype, whether the compiled extension may serve, and the tolerance that dtype affords."""


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[torch.dtype, bool, float]:
    dtype, may_compile, tolerance = WAYS[request.param]
    if may_compile:
        assert native.library() is not None, "no C compiler here"
    else:
        monkeypatch.setattr(native, "library", lambda: None)
    return dtype, may_compile, tolerance


def forms_for(way: tuple[torch.dtype, bool, float], problem: PursuitProblem) -> list[str]:
    if problem.rules.sliced:
        return ["recompute"]
    compiled = way[0] == torch.float32 and way[1]
    forms = ["recompute", *(["screen"] if compiled else [])]
    return forms if problem.decoder.ndim == 3 else [*forms, "update"]


def run(problem: PursuitProblem, **options: object) -> tuple[Tensor, Tensor, Tensor]:
    r0, W_enc, b_enc, _, rules, _ = problem
    return matching_pursuit(r0, W_enc, b_enc, problem.decoder, rules.k, **problem.options(), **options)


@settings(SETTINGS, max_examples=150)
@given(problem=pursuit_problems(), detach=st.booleans())
def test_matching_pursuit_chooses_the_best_and_has_its_gradients(way, problem, detach):
    dtype, _, tolerance = way
    for form in forms_for(way, problem):
        ours = problem.leaves(dtype)
        outputs = run(ours, form=form, detach_residual=detach)
        assert_is_a_pursuit(ours, *outputs, tolerance)
        assert_same_gradients(ours, outputs, detach, 30 * tolerance)


@SETTINGS
@given(problem=pursuit_problems(), detach=st.booleans())
def test_matching_pursuit_in_float64_equals_the_reference(problem, detach):
    assume(problem.rules.k <= 9)  # random decoders overshoot, and rounding grows with every step
    r0, W_enc, b_enc, _, rules, _ = problem
    # twins tie, and a product of another shape breaks ties otherwise
    assume(len(W_enc) == 1 or not torch.equal(W_enc[len(W_enc) // 2], W_enc[0]))
    expected = reference.matching_pursuit(
        r0, W_enc, b_enc, problem.decoder, rules.k, detach_residual=detach, **problem.options()
    )
    scale = replay(problem, expected[1]).scale
    for form in forms_for((torch.float64, True, 0.0), problem):
        acts, indices, residual = run(problem, form=form, detach_residual=detach)
        assert_within(acts, expected[0], 1e-9, scale)
        assert_within(residual, expected[2], 1e-9, scale)
        active = expected[0] > 1e-12 * (1 + scale)
        assert torch.equal(indices[active], expected[1][active])


def test_excluded_latents_may_lie_apart_in_memory_and_must_be_latents():
    r0, W = torch.randn(5, 8), torch.randn(20, 8)
    barred = torch.randint(20, (5, 3))
    strided = matching_pursuit(r0, W, None, W, 3, excluded=barred[:, 1])
    for one, other in zip(strided, matching_pursuit(r0, W, None, W, 3, excluded=barred[:, 1].clone()), strict=True):
        assert torch.equal(one, other)
    for wrong, said in (
        (barred[:, 1] + 20, r"^excluded has values from \d+ to \d+; expected 0 to 19$"),
        (barred, r"^excluded is torch.int64 of shape \[5, 3\] on cpu; expected torch.int64 of \[5\] on cpu$"),
    ):
        with pytest.raises(ValueError, match=said):
            matching_pursuit(r0, W, None, W, 3, excluded=wrong)
    with pytest.raises(ValueError, match=r"^k is 20; expected 1 to 19 where a latent is excluded$"):
        matching_pursuit(r0, W, None, W, 20, excluded=barred[:, 1])
    with pytest.raises(ValueError, match=r"^excluded is given; expected None with repeats or slices$"):
        matching_pursuit(r0, W, None, W, 3, excluded=barred[:, 1], repeats=True)


@st.composite
def encoders(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """Input, encoder, bias, decoder and k, float64."""
    problem = draw(pursuit_problems(plain=True))
    bias = torch.zeros(problem.W_enc.shape[0], dtype=torch.float64) if problem.b_enc is None else problem.b_enc
    latents = problem.W_enc.shape[0]
    k = draw(st.sampled_from([1, min(latents, 3), latents]), label="k")
    return problem.r0, problem.W_enc, bias, problem.decoder, k


@SETTINGS
@given(problem=encoders(), biased=st.booleans())
def test_topk_encode_and_decode_equal_reference(way, problem, biased):
    dtype, _, tolerance = way
    *tensors, k = problem
    ours, exact = leaves(*tensors, dtype=dtype), leaves(*tensors)
    acts, indices = topk_encode(ours[0], ours[1], ours[2] if biased else None, k)
    ref_acts, _ = reference.topk_encode(exact[0], exact[1], exact[2] if biased else None, k)
    scale = float(ref_acts.detach().max()) + 1.0
    torch.testing.assert_close(acts.double(), ref_acts, rtol=tolerance, atol=tolerance * scale)
    scores = torch.relu(exact[0] @ exact[1].T + (exact[2] if biased else 0)).gather(1, indices)
    torch.testing.assert_close(acts.double(), scores, rtol=tolerance, atol=tolerance * scale)
    assert all(len(set(row)) == k for row in indices.tolist())
    out, ref_out = sparse_decode(acts, indices, ours[3]), reference.sparse_decode(scores, indices, exact[3])
    torch.testing.assert_close(out.double(), ref_out, rtol=tolerance, atol=tolerance * scale * k)
    (out - ours[0]).pow(2).sum().backward()
    (ref_out - exact[0]).pow(2).sum().backward()
    for mine, theirs in zip(ours, exact, strict=True):
        if theirs.grad is not None:
            atol = 30 * tolerance * (float(theirs.grad.abs().max()) + 1)
            torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=30 * tolerance, atol=atol)


@pytest.mark.parametrize("k", [1, 16])
def test_compiled_topk_finds_what_a_full_sort_finds(k):
    generator = torch.Generator().manual_seed(0)
    x, W_enc = torch.randn(70, 48, generator=generator), torch.randn(1501, 48, generator=generator)
    b_enc = torch.randn(1501, generator=generator)
    acts, indices = topk_encode(x, W_enc, b_enc, k)
    ref_acts, ref_indices = reference.topk_encode(x.double(), W_enc.double(), b_enc.double(), k)
    torch.testing.assert_close(acts.double(), ref_acts, rtol=1e-5, atol=1e-5)
    assert (indices == ref_indices).float().mean() > 0.999


def test_gradient_pursuit_step_equals_reference(way):
    """On tokens with an error left: the step is a ratio of squares of it."""
    dtype, _, tolerance = way
    generator = torch.Generator().manual_seed(0)
    for tokens, width, latents, k in [(1, 3, 7, 1), (7, 16, 67, 5), (65, 33, 257, 9)]:
        x, D = (torch.randn(n, width, generator=generator, dtype=torch.float64) for n in (tokens, latents))
        acts, indices = reference.topk_encode(x, D / width, None, k)
        ours, exact = leaves(x, acts, D, dtype=dtype), leaves(x, acts, D)
        mine = gradient_pursuit_step(ours[0], ours[1], indices, ours[2])
        theirs = reference.gradient_pursuit_step(exact[0], exact[1], indices, exact[2])
        torch.testing.assert_close(mine.double(), theirs, rtol=100 * tolerance, atol=100 * tolerance)
        mine.sum().backward()
        theirs.sum().backward()
        for a, b in zip(ours, exact, strict=True):
            atol = 1000 * tolerance * (float(b.grad.abs().max()) + 1)
            torch.testing.assert_close(a.grad.double(), b.grad, rtol=1000 * tolerance, atol=atol)


def test_gradient_pursuit_leaves_what_is_already_best():
    D = torch.eye(4)
    acts, indices = torch.tensor([[2.0, 1.0]]), torch.tensor([[0, 3]])
    moved = gradient_pursuit_step(sparse_decode(acts, indices, D), acts, indices, D)
    assert torch.equal(moved, acts)


def test_gradient_pursuit_never_raises_the_error():
    generator = torch.Generator().manual_seed(0)
    x, D = torch.randn(64, 24, generator=generator), torch.randn(100, 24, generator=generator)
    acts, indices = topk_encode(x, D, None, 6)
    errors = []
    for _ in range(5):
        errors.append((x - sparse_decode(acts, indices, D)).pow(2).sum(dim=1))
        acts = gradient_pursuit_step(x, acts, indices, D)
    moved = torch.stack(errors)
    assert (moved[1:] <= moved[:-1] * 1.0001).all()  # unclipped coefficients cannot get worse, and few clip here
    assert moved[-1].sum() < 0.9 * moved[0].sum()


@pytest.mark.parametrize("operation", [sparse_decode, sparse_scores], ids=["decode", "scores"])
def test_sparse_products_gradcheck_twice(operation):
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(5, 3 if operation is sparse_decode else 4, generator=generator, dtype=torch.float64)
    weight = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    indices = torch.randint(0, 7, (5, 3), generator=generator)
    inputs = leaves(first, weight)
    assert torch.autograd.gradcheck(lambda a, w: operation(a, indices, w), inputs)
    assert torch.autograd.gradgradcheck(lambda a, w: operation(a, indices, w), inputs)


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


@pytest.mark.parametrize("form", ["update", "recompute", "screen"])
def test_ties_choose_distinct_latents_and_the_same_values(form):
    W_enc, W_dec = torch.ones(6, 4), torch.full((6, 4), 0.05)
    acts, indices, residual = matching_pursuit(torch.ones(3, 4), W_enc, None, W_dec, 6, form=form)
    assert indices.tolist() == [[0, 1, 2, 3, 4, 5]] * 3
    torch.testing.assert_close(acts[0], 4 * 0.8 ** torch.arange(6))
    torch.testing.assert_close(residual, torch.full((3, 4), 0.8**6))


@pytest.mark.parametrize("form", ["update", "recompute", "screen"])
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
    for form in ("update", "recompute", "screen"):
        _, indices, residual = matching_pursuit(x, W_enc, b_enc, W_dec, 16, form=form)
        assert (indices == expected[1]).float().mean() > 0.999
        fvu, expected_fvu = residual.pow(2).sum() / x.pow(2).sum(), expected[2].pow(2).sum() / x.pow(2).sum()
        assert abs(fvu - expected_fvu) < 1e-5


@pytest.mark.parametrize("form", ["update", "screen", "recompute"])
def test_a_bias_that_cancels_large_scores_hides_nothing(form):
    """Raw scores of 100 are rounded by 0.5 in bfloat16, whatever is left of them with the bias."""
    x, W_enc, b_enc = torch.zeros(1, 1024), torch.zeros(128, 1024), torch.zeros(128)
    x[0, :2] = torch.tensor([100.0, 1.0])
    W_enc[5, :2], b_enc[5] = torch.tensor([1.0, 0.26]), -100.0
    W_enc[9, :2], b_enc[9] = torch.tensor([1.0, 0.249]), -99.9
    _, indices, _ = matching_pursuit(x, W_enc, b_enc, W_enc, 1, form=form, operands=torch.bfloat16)
    assert indices.tolist() == [[9]]
    assert topk_encode(x, W_enc, b_enc, 1, operands=torch.bfloat16)[1].tolist() == [[9]]


@pytest.mark.parametrize("form", ["update", "screen", "recompute"])
def test_a_bias_of_minus_infinity_forbids_a_latent(form):
    generator = torch.Generator().manual_seed(0)
    x, W = torch.randn(9, 70, generator=generator), torch.randn(300, 70, generator=generator)
    b_enc = torch.zeros(300)
    b_enc[3:] = -torch.inf
    acts, indices, residual = matching_pursuit(x, W, b_enc, W / 9, 2, form=form)
    assert torch.isfinite(residual).all()
    assert indices[acts > 0].max() < 3
    acts, indices = topk_encode(x, W, b_enc, 4)
    assert indices[acts > 0].max() < 3


@pytest.mark.parametrize("form", ["update", "screen", "recompute"])
def test_nothing_is_chosen_twice_when_nothing_else_is_allowed(form):
    W, b_enc = torch.eye(2), torch.tensor([0.0, -torch.inf])
    acts, _, residual = matching_pursuit(torch.ones(1, 2), W, b_enc, 0.5 * W, 2, form=form)
    assert acts.tolist() == [[1.0, 0.0]]
    assert residual.tolist() == [[0.5, 1.0]]


@SETTINGS
@given(rows=st.integers(1, 5), columns=st.sampled_from([1, 127, 128, 255, 256, 257, 400]), seed=st.integers(0, 999))
def test_row_argmax(rows, columns, seed):
    scores = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    scores[:, :: columns // 3 + 1] = -torch.inf
    assert torch.equal(row_argmax(scores), scores.argmax(dim=1))


def test_cost_model():
    """Update for many tokens; no H where it is too large, or large without being worth it; slices cost one pass."""
    with_compiler, without = cpu.rates(torch.empty(0)), cpu.rates(torch.empty(0, dtype=torch.float64))
    assert best_form(with_compiler, 2048, 4608, 576, Rules(k=64))[0] == "update"
    assert best_form(with_compiler, 2048, 18432, 576, Rules(k=32))[0] == "screen"
    assert best_form(with_compiler, 1 << 14, 18432, 576, Rules(k=16))[0] == "update"
    assert best_form(with_compiler, 1 << 17, 18432, 576, Rules(k=64))[0] == "update"
    assert best_form(without, 2048, 4608, 576, Rules(k=64))[0] == "update"
    assert best_form(without, 8, 4608, 576, Rules(k=4))[0] == "recompute"
    assert best_form(without, 1 << 16, 1 << 17, 576, Rules(k=64))[0] == "recompute"
    assert best_form(with_compiler, 2048, 4608, 576, Rules(k=64, sliced=True)) == ("recompute", 2.0 * 2048 * 4608 * 576)
    assert best_form(with_compiler, 1 << 17, 4608, 576, Rules(k=64), per_step=True)[0] == "screen"
