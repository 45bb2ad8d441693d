"""Every operation against its plain float64 reference, values and gradients, over awkward shapes."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pursuits import PursuitProblem, assert_is_a_pursuit, assert_same_gradients, pursuit_problems
from torch import Tensor

from kernels import (
    cpu,
    decoder_gram,
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
    r0, W_enc, b_enc, _, rules = problem
    return matching_pursuit(r0, W_enc, b_enc, problem.decoder, rules.k, **problem.options(), **options)


def leaves(*tensors: Tensor, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [t.detach().to(dtype).clone().requires_grad_() for t in tensors]


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
    if problem.W_enc.shape[0] > 1 and torch.equal(problem.W_enc[-1], problem.W_enc[problem.W_enc.shape[0] // 2 - 1]):
        return  # twins tie, and a product of another shape breaks ties otherwise
    r0, W_enc, b_enc, _, rules = problem
    expected = reference.matching_pursuit(
        r0, W_enc, b_enc, problem.decoder, rules.k, detach_residual=detach, **problem.options()
    )
    for form in forms_for((torch.float64, True, 0.0), problem):
        acts, indices, residual = run(problem, form=form, detach_residual=detach)
        torch.testing.assert_close(acts, expected[0], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(residual, expected[2], rtol=1e-9, atol=1e-9)
        active = expected[0] > 1e-12
        assert torch.equal(indices[active], expected[1][active])


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


@SETTINGS
@given(problem=encoders())
def test_gradient_pursuit_step_equals_reference(way, problem):
    dtype = way[0]
    x, W_enc, b_enc, _, k = problem
    acts, indices = reference.topk_encode(x, W_enc, b_enc, k)
    ours, exact = leaves(x, acts, W_enc, dtype=dtype), leaves(x, acts, W_enc)
    mine = gradient_pursuit_step(ours[0], ours[1], indices, ours[2])
    theirs = reference.gradient_pursuit_step(exact[0], exact[1], indices, exact[2])
    if dtype == torch.float32:  # a ratio of squares, so of a wide range where there is hardly an error left
        assert torch.isfinite(mine).all()
        return
    torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-7)
    mine.sum().backward()
    theirs.sum().backward()
    for a, b in zip(ours, exact, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-6, atol=1e-6 * (float(b.grad.abs().max()) + 1))


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
    assert best_form(with_compiler, 1 << 17, 18432, 576, Rules(k=64))[0] == "update"
    assert best_form(without, 2048, 4608, 576, Rules(k=64))[0] == "update"
    assert best_form(without, 8, 4608, 576, Rules(k=4))[0] == "recompute"
    assert best_form(without, 1 << 16, 1 << 17, 576, Rules(k=64))[0] == "recompute"
    assert best_form(with_compiler, 2048, 4608, 576, Rules(k=64, sliced=True)) == ("recompute", 2.0 * 2048 * 4608 * 576)
    assert best_form(with_compiler, 1 << 17, 4608, 576, Rules(k=64), per_step=True)[0] == "screen"


def test_the_form_is_logged_once_per_shape(caplog):
    x, W = torch.randn(3, 5), torch.randn(23, 5)
    with caplog.at_level(logging.INFO, logger="kernels.forms"):
        for _ in range(2):
            matching_pursuit(x, W, None, W, 2)
    assert len([r for r in caplog.records if "M=23" in r.getMessage()]) == 1


BAD_CALLS = {
    "W_enc": lambda x, W, b: matching_pursuit(x, W[:, :2], b, W, 2),
    "W_dec": lambda x, W, b: matching_pursuit(x, W, b, W[:3], 2),
    "b_enc": lambda x, W, b: matching_pursuit(x, W, b[:1], W, 2),
    "k": lambda x, W, b: matching_pursuit(x, W, b, W, 99),
    "form": lambda x, W, b: matching_pursuit(x, W, b, W, 2, form="fast"),
    "form is 'update'": lambda x, W, b: matching_pursuit(x, W, b, W, 2, form="update", sliced=True),
    "form is 'screen'": lambda x, W, b: matching_pursuit(x.double(), W.double(), None, W.double(), 2, form="screen"),
    "gram is given": lambda x, W, b: matching_pursuit(x, W, b, W, 2, gram=torch.zeros(10, 10), sliced=True),
    "operands": lambda x, W, b: matching_pursuit(x, W, b, W, 2, operands=torch.int8),
    "residual_threshold": lambda x, W, b: matching_pursuit(x, W, b, W, 2, residual_threshold=-1.0),
    "gram is": lambda x, W, b: matching_pursuit(x, W, b, W, 2, gram=torch.zeros(10, 10, dtype=torch.float64)),
    "W_dec has shape": lambda x, W, b: matching_pursuit(x, W, b, W.expand(3, 10, 4), 2),
    "b_enc is": lambda x, W, b: matching_pursuit(x, W, b.double(), W, 2),
    "gram": lambda x, W, b: matching_pursuit(x, W, b, W, 2, gram=W),
    "r0": lambda x, W, b: matching_pursuit(x.half(), W, b, W, 2),
    "x": lambda x, W, b: topk_encode(x[0], W, b, 2),
    "indices": lambda x, W, b: sparse_decode(x, torch.zeros(2, 1, dtype=torch.int64), W),
    "acts": lambda x, W, b: sparse_decode(x.double(), torch.zeros(2, 4, dtype=torch.int64), W),
}


@pytest.mark.parametrize("argument", BAD_CALLS)
def test_bad_arguments_are_named(argument):
    with pytest.raises(ValueError, match=rf"^{argument}[ ;,]"):
        BAD_CALLS[argument](torch.randn(2, 4), torch.randn(10, 4), torch.zeros(10))


def test_a_given_gram_changes_nothing():
    x, W, b = torch.randn(9, 4), torch.randn(10, 4), torch.zeros(10)
    given_gram = matching_pursuit(x, W, b, W, 3, gram=decoder_gram(W, W))
    own_gram = matching_pursuit(x, W, b, W, 3, form="update")
    assert all(torch.equal(given, own) for given, own in zip(given_gram, own_gram, strict=True))


# --- living with torch ---


def losses(x: Tensor, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor) -> Tensor:
    acts, indices = topk_encode(x, W_enc, b_enc, 3)
    topk_error = (x - sparse_decode(acts, indices, W_dec)).pow(2).sum()
    _, _, residual = matching_pursuit(x, W_enc, b_enc, W_dec, 3)
    moved = gradient_pursuit_step(x, acts, indices, W_dec)
    return topk_error + residual.pow(2).sum() + moved.sum()


@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
def test_torch_compile_sees_whole_operations(compiler):
    arguments = [torch.randn(*shape) for shape in ((9, 8), (40, 8), (40,), (40, 8))]
    eager, compiled = leaves(*arguments, dtype=torch.float32), leaves(*arguments, dtype=torch.float32)
    losses(*eager).backward()
    torch.compile(losses, fullgraph=True, backend=compiler)(*compiled).backward()
    for mine, theirs in zip(compiled, eager, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_registered_operators_are_what_torch_expects_of_them():
    x, W, b = torch.randn(6, 8), torch.randn(40, 8), torch.randn(40)
    indices = torch.randint(0, 40, (6, 3))
    pursuit = (x, W, b, W.clone(), None, 3, False, False, 0.0, "auto", None, False, False)
    tests = ["test_schema", "test_autograd_registration", "test_faketensor"]
    torch.library.opcheck(torch.ops.pursuit.matching_pursuit, pursuit, test_utils=tests)
    torch.library.opcheck(torch.ops.pursuit.topk_encode, (x, W, b, 3, None), test_utils=tests)
    torch.library.opcheck(torch.ops.pursuit.sparse_decode, (torch.randn(6, 3), indices, W), test_utils=tests)
    torch.library.opcheck(torch.ops.pursuit.sparse_scores, (x, indices, W), test_utils=tests)


def test_autocast_changes_nothing():
    arguments = [torch.randn(*shape) for shape in ((9, 32), (700, 32), (700,), (700, 32))]
    plain, cast = leaves(*arguments, dtype=torch.float32), leaves(*arguments, dtype=torch.float32)
    losses(*plain).backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses(*cast).backward()
    for mine, theirs in zip(cast, plain, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_inputs_that_autocast_rounded_are_taken():
    x, W = torch.randn(9, 32), torch.randn(70, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = x @ torch.eye(32)
        acts, _, _ = matching_pursuit(rounded, W, None, W, 3)
    assert rounded.dtype == torch.bfloat16
    assert acts.dtype == torch.float32


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("argument", ["r0", "W_enc", "b_enc", "W_dec"])
def test_anomaly_detection_refuses_what_is_not_finite(argument, value):
    arguments = {"r0": torch.randn(4, 8), "W_enc": torch.randn(9, 8), "b_enc": torch.zeros(9), "W_dec": torch.eye(9, 8)}
    arguments[argument].view(-1)[3] = value
    with torch.autograd.set_detect_anomaly(True), pytest.raises(ValueError, match=f"^{argument} holds NaN or inf"):
        matching_pursuit(**arguments, k=2)


@pytest.mark.parametrize("form", ["update", "screen", "recompute"])
@pytest.mark.parametrize("where", ["token", "weight"])
def test_nan_comes_out_where_it_went_in(form, where):
    x, W = torch.randn(4, 8), torch.nn.functional.normalize(torch.randn(90, 8), dim=1)
    (x[1] if where == "token" else W[5])[2] = float("nan")
    acts, indices, _ = matching_pursuit(x, W, None, W, 3, form=form)
    assert torch.isnan(acts[1]).any()
    assert torch.isfinite(acts[0]).all() == (where == "token")
    assert indices.min() >= 0
    assert indices.max() < 90


def test_threads_change_no_bit():
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(*shape, generator=generator) for shape in ((200, 50), (700, 50), (700,), (700, 50))]
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            ours = leaves(*tensors, dtype=torch.float32)
            acts, indices, residual = matching_pursuit(*ours, 7, operands=torch.float32)
            (acts.sum() + residual.pow(2).sum()).backward()
            results.append([acts.detach(), indices, residual.detach(), *(leaf.grad for leaf in ours)])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, many) for one, many in zip(*results, strict=True))


def test_without_a_compiler_the_torch_path_serves(tmp_path: Path):
    code = """
import logging, torch
logging.basicConfig()
from kernels import matching_pursuit
W = torch.nn.functional.normalize(torch.randn(30, 8), dim=1)
print(matching_pursuit(torch.randn(5, 8), W, None, W, 3)[0].shape)
"""
    environment = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent.parent, env=environment,
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "torch.Size([5, 3])" in result.stdout
    assert "no C compiler found" in result.stderr


def test_a_cache_directory_that_cannot_be_written_does_not_matter(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert native.library.__wrapped__() is not None
