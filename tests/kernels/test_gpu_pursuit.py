"""Matching-pursuit Triton kernels against the definition in float64; on a CPU in Triton's interpreter."""

import dataclasses
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from kernels.gpu import common, mp_backward, mp_update
from kernels.gpu.mp_backward import pursuit_backward
from kernels.gpu.mp_recompute import recompute_config, select_by_recompute
from kernels.gpu.mp_update import select_by_update, update_config
from kernels.rules import Rules
from tests.support.pursuits import PursuitProblem, assert_is_a_pursuit, replay

pytestmark = pytest.mark.gpu
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = 3e-6
"""Of what fp32 decides: activations, residuals, and choices among re-scored candidates."""


def problem(
    tokens: int, latents: int, width: int, rules: Rules, *, bias: float | None = 0.0, tied: bool = False,
    per_step: bool = False, excluded: bool = False, prepare: Callable[[Tensor, Tensor], None] | None = None,
) -> PursuitProblem:  # fmt: skip
    """float32; decoder rows of unit norm near the encoder's, so that a pursuit has something to do in every step."""
    generator = torch.Generator().manual_seed(tokens + 3 * latents + 5 * width + rules.k)
    r0 = torch.randn(tokens, width, generator=generator)
    W_enc = torch.randn(latents, width, generator=generator) / width**0.5
    if prepare is not None:
        prepare(r0, W_enc)
    W_enc = torch.nn.functional.normalize(W_enc, dim=1) if tied else W_enc
    noise = torch.randn(*([rules.k] if per_step else []), latents, width, generator=generator)
    W_dec = None if tied else torch.nn.functional.normalize(W_enc + 0.5 * noise / width**0.5, dim=-1)
    b_enc = None if bias is None else bias + 0.05 * torch.randn(latents, generator=generator)
    moved = (None if t is None else t.to(DEVICE) for t in (r0, W_enc, b_enc, W_dec))
    barred = torch.randint(latents, (tokens,), generator=generator).to(DEVICE) if excluded else None
    return PursuitProblem(*moved, rules, barred)


def update(case: PursuitProblem, dtype: torch.dtype = torch.float16) -> tuple[Tensor, Tensor, Tensor]:
    gram = case.decoder.to(dtype) @ case.W_enc.to(dtype).T
    return select_by_update(case.r0, case.W_enc, case.b_enc, case.decoder, gram, case.rules, case.excluded)


def recompute(case: PursuitProblem, dtype: torch.dtype = torch.bfloat16) -> tuple[Tensor, Tensor, Tensor]:
    return select_by_recompute(case.r0, case.W_enc, case.b_enc, case.decoder, case.rules, dtype, case.excluded)


def zero_rows(r0: Tensor, W_enc: Tensor) -> None:
    r0[::2] = 0
    W_enc[::3] = 0


def twins(r0: Tensor, W_enc: Tensor) -> None:
    half = W_enc.shape[0] // 2
    W_enc[half : 2 * half] = W_enc[:half]


def few_choices(r0: Tensor, W_enc: Tensor) -> None:
    """Sixteen distinct rows, all others equal to them: in every sweep of scores whole groups of them tie."""
    W_enc[:] = W_enc[:16].repeat(W_enc.shape[0] // 16 + 1, 1)[: W_enc.shape[0]]


PLAIN = {
    "one of everything": (1, 1, 1, Rules(k=1), {}),
    "k is 1": (5, 67, 33, Rules(k=1), {}),
    "k is M": (3, 13, 5, Rules(k=13), {}),
    "width 1": (4, 11, 1, Rules(k=3), {}),
    "prime M": (2, 1031, 100, Rules(k=6), {}),
    "several tiles of latents": (2, 2600, 17, Rules(k=5), {}),
    "no bias": (3, 50, 16, Rules(k=4), {"bias": None}),
    "all negative": (3, 50, 16, Rules(k=4), {"bias": -100.0}),
    "zero rows": (4, 50, 16, Rules(k=4), {"prepare": zero_rows}),
    "zero rows without bias": (4, 50, 16, Rules(k=4), {"prepare": zero_rows, "bias": None}),
    "excluded": (70, 40, 16, Rules(k=4), {"excluded": True}),
    "excluded, all but one chosen": (3, 13, 5, Rules(k=12), {"excluded": True}),
    "twins": (4, 50, 16, Rules(k=6), {"prepare": twins, "bias": None}),
    "tied": (3, 90, 20, Rules(k=5), {"tied": True, "bias": None}),
    "repeats": (3, 20, 6, Rules(k=9, repeats=True), {}),
    "tied repeats": (3, 20, 6, Rules(k=9, repeats=True), {"tied": True}),
    "threshold": (6, 40, 16, Rules(k=9, residual_threshold=3.0), {}),
    "threshold at once": (2, 40, 16, Rules(k=3, residual_threshold=100.0), {}),
    "repeats to a threshold": (3, 20, 6, Rules(k=9, repeats=True, residual_threshold=1.0), {"tied": True}),
}
OTHERS = {
    "two tiles of tokens": (70, 19, 7, Rules(k=3), {}),
    "sliced": (5, 301, 20, Rules(k=7, sliced=True), {}),
    "slices of one": (3, 9, 5, Rules(k=9, sliced=True), {}),
    "sliced, some negative": (5, 61, 20, Rules(k=5, sliced=True), {"bias": -2.0}),
    "sliced to a threshold": (5, 61, 20, Rules(k=5, sliced=True, residual_threshold=4.0), {}),
    "per step": (3, 37, 12, Rules(k=6), {"per_step": True}),
    "sliced per step": (3, 37, 12, Rules(k=6, sliced=True), {"per_step": True}),
    "per step with repeats": (3, 31, 12, Rules(k=6, repeats=True), {"per_step": True}),
}


def build(name: str) -> PursuitProblem:
    tokens, latents, width, rules, options = (PLAIN | OTHERS)[name]
    return problem(tokens, latents, width, rules, **options)


@pytest.mark.parametrize(
    ("name", "on_chip"),
    [(name, True) for name in PLAIN]
    + [(name, False) for name in ("one of everything", "several tiles of latents", "excluded", "twins", "threshold")],
    ids=lambda value: {True: "on chip", False: "in memory"}.get(value, value),
)
def test_update_form(name, on_chip, monkeypatch):
    if not on_chip:
        monkeypatch.setattr(mp_update, "ON_CHIP_TILES", {2: 0})
    case = build(name)
    assert_is_a_pursuit(case, *update(case), tolerance=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, torch.bfloat16) for name in PLAIN | OTHERS]
    + [(name, dtype) for name in ("k is M", "twins", "sliced") for dtype in (torch.float16, torch.float32)],
    ids=str,
)
def test_recompute_form(name, dtype):
    case = build(name)
    assert_is_a_pursuit(case, *recompute(case, dtype), tolerance=TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_update_form_with_other_dtypes_of_h(dtype):
    case = problem(4, 700, 40, Rules(k=8))
    assert_is_a_pursuit(case, *update(case, dtype), tolerance=TOLERANCE)


@pytest.mark.parametrize("select", [update, recompute])
@pytest.mark.parametrize("prepare", [twins, few_choices])
def test_ties_go_to_the_lowest_latent(select, prepare):
    case = problem(3, 96, 16, Rules(k=1), bias=None, prepare=prepare)
    scores = case.r0.double() @ case.W_enc.double().T
    _, indices, _ = select(case)
    assert torch.equal(indices, scores.argmax(dim=1, keepdim=True))


@pytest.mark.parametrize("select", [update, recompute])
def test_no_latent_is_chosen_twice(select):
    acts, indices, _ = select(problem(2, 300, 30, Rules(k=40), bias=1.0))
    for active in (row[act > 0] for row, act in zip(indices, acts, strict=True)):
        assert len(active) > 20
        assert len(active.unique()) == len(active)


def test_slices_are_kept_to_by_tokens_that_stopped():
    rules = Rules(k=6, sliced=True, residual_threshold=100.0)
    acts, indices, residual = recompute(case := problem(3, 45, 8, rules))
    bounds = torch.tensor([rules.slice_bounds(i, 45) for i in range(6)], device=DEVICE)
    assert (acts == 0).all()
    assert torch.equal(residual, case.r0)
    assert ((indices >= bounds[:, 0]) & (indices < bounds[:, 1])).all()


@pytest.mark.parametrize("select", [update, recompute])
def test_tokens_are_handled_in_chunks(select, monkeypatch):
    case = problem(70, 30, 8, Rules(k=1))
    whole = select(case)
    monkeypatch.setattr(mp_update, "SCORES_BYTES", 1)
    monkeypatch.setattr(common, "INTERPRETER_PROGRAMS", 1)
    for one, other in zip(select(case), whole, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("select", [update, recompute])
def test_rounding_is_undone_by_the_candidates(select):
    """Runner-up scores a hair below the best: only the fp32 scores can tell them apart."""
    case = problem(8, 512, 64, Rules(k=1), bias=None)
    generator = torch.Generator().manual_seed(0)
    base = torch.nn.functional.normalize(case.r0[:1], dim=1)
    case.r0[:] = 3 * base
    best = torch.randint(512, (1,), generator=generator).item()
    case.W_enc[::32] = 0.999 * base + 1e-4 * case.W_enc[::32]
    case.W_enc[best] = 0.9999 * base
    expected = (case.r0.double() @ case.W_enc.double().T).argmax(dim=1, keepdim=True)
    assert torch.equal(select(case)[1], expected)


def gradients(case: PursuitProblem, indices: Tensor, detach_residual: bool) -> tuple[list[Tensor], Tensor, Tensor]:
    """Float64 gradients at r0, W_enc, b_enc and W_dec through the given choices, and those that came in."""
    twin = case.leaves(torch.float64, DEVICE)
    acts, residual, *_ = replay(twin, indices, detach_residual)
    generator = torch.Generator().manual_seed(1)
    grad_acts = torch.randn(acts.shape, generator=generator).to(DEVICE)
    grad_residual = torch.randn(residual.shape, generator=generator).to(DEVICE)
    torch.autograd.backward([acts, residual], [grad_acts.double(), grad_residual.double()])
    expected = [torch.zeros_like(t) if t.grad is None else t.grad for t in twin[:4] if t is not None]
    return expected, grad_acts, grad_residual


SOME = ("k is M", "tied repeats", "zero rows", "threshold", "sliced per step")


@pytest.mark.parametrize(
    ("name", "deterministic", "detach_residual"),
    [(name, False, False) for name in PLAIN | OTHERS if name not in ("prime M", "two tiles of tokens")]
    + [(name, False, True) for name in ("one of everything", "no bias", "excluded", "per step with repeats", *SOME)]
    + [(name, True, detach) for name in SOME for detach in (False, True)],
)
def test_backward(name, deterministic, detach_residual):
    case = build(name)
    case = case._replace(b_enc=torch.zeros(case.W_enc.shape[0], device=DEVICE) if case.b_enc is None else case.b_enc)
    acts, indices, residual = recompute(case)
    expected, grad_acts, grad_residual = gradients(case, indices, detach_residual)
    tied = case.W_dec is None
    grad_r0, grad_W_enc, grad_b_enc, grad_W_dec = pursuit_backward(
        acts, indices, residual, case.W_enc, case.decoder, grad_acts, grad_residual,
        detach_residual=detach_residual, deterministic=deterministic, tied=tied,
    )  # fmt: skip
    assert (grad_W_enc is None) == tied
    actual = [grad_r0, grad_W_dec, grad_b_enc] if tied else [grad_r0, grad_W_enc, grad_b_enc, grad_W_dec]
    for mine, theirs in zip(actual, expected, strict=True):
        scale = float(theirs.abs().max()) + 1.0
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-5 * scale)


def test_deterministic_backward_is_the_same_bits_whatever_the_chunks(monkeypatch):
    case = problem(40, 12, 9, Rules(k=4))
    acts, indices, residual = recompute(case)
    _, grad_acts, grad_residual = gradients(case, indices, False)
    arguments = (acts, indices, residual, case.W_enc, case.decoder, grad_acts, grad_residual)
    options = {"detach_residual": False, "deterministic": True, "tied": False}
    first, again = (pursuit_backward(*arguments, **options) for _ in range(2))
    monkeypatch.setattr(mp_backward, "STORED_BYTES", 13 * 8 * 4 * 9)
    chunked = pursuit_backward(*arguments, **options)
    for one, two, three in zip(first, again, chunked, strict=True):
        assert torch.equal(one, two)
        torch.testing.assert_close(one, three, rtol=1e-5, atol=1e-5)


def test_configurations_hold_what_they_must():
    for latents in (1, 256, 4608, 36864, 36865, 2**17):
        for width in (1, 33, 576, 8192):
            config = update_config(latents, width, torch.float16)
            assert config.tiles * config.tile >= latents
            assert config.on_chip == (latents <= 36864)
    for operands in (torch.bfloat16, torch.float32):
        for rules in (Rules(k=64), Rules(k=64, sliced=True)):
            config = recompute_config(2**16, 36864, rules, operands, 9)
            assert dataclasses.astuple(config) == dataclasses.astuple(
                recompute_config(2**16, 36864, rules, operands, 10)
            )
            assert config.block_m % (32 * 1) == 0
            assert config.groups * (config.block_m // config.groups) == config.block_m


@pytest.fixture(params=["ieee", "tf32"])
def products(request: pytest.FixtureRequest) -> Iterator[str]:
    """How a person has set torch to multiply float32 matrices on a GPU."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = request.param
    yield request.param
    torch.backends.cuda.matmul.fp32_precision = before


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_how_torch_multiplies_is_as_before(products: str, dtype: torch.dtype) -> None:
    case = problem(9, 300, 24, Rules(k=4))
    assert_is_a_pursuit(case, *update(case, dtype), tolerance=TOLERANCE)
    assert torch.backends.cuda.matmul.fp32_precision == products
