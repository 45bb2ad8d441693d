"""The screening form of matching pursuit, where its shortlists and bounds are strained."""

import importlib

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from kernels import matching_pursuit
from kernels.rules import Rules
from tests.support.pursuits import PursuitProblem, assert_is_a_pursuit


def screen(problem: PursuitProblem, operands: torch.dtype | None = None) -> tuple[Tensor, Tensor, Tensor]:
    r0, W_enc, b_enc, _, rules, _ = problem
    return matching_pursuit(
        r0, W_enc, b_enc, problem.decoder, rules.k, form="screen", operands=operands, **problem.options()
    )


@pytest.mark.parametrize("operands", [None, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("blocks", [1, 3, 40])
@pytest.mark.parametrize("kind", ["untied", "repeats", "per step", "threshold", "no bias", "zero decoder"])
def test_screening_with_short_lists(monkeypatch, operands, blocks, kind):
    """Lists that run out after every few steps, from int8 products where the processor has them."""
    monkeypatch.setattr(importlib.import_module("kernels.cpu.compiled"), "SHORTLIST_BLOCKS", blocks)
    generator = torch.Generator().manual_seed(blocks)
    x, W_enc = torch.randn(30, 80, generator=generator), torch.randn(1001, 80, generator=generator)
    W_enc = normalize(W_enc, dim=1)
    W_dec = normalize(W_enc + 0.3 * torch.randn(1001, 80, generator=generator) / 9, dim=1)
    W_dec = {"per step": W_dec.repeat(24, 1, 1), "zero decoder": torch.zeros_like(W_dec)}.get(kind, W_dec)
    rules = Rules(k=24, repeats=kind == "repeats", residual_threshold=5.0 if kind == "threshold" else 0.0)
    b_enc = None if kind == "no bias" else 0.05 * torch.randn(1001, generator=generator)
    problem = PursuitProblem(x, W_enc, b_enc, W_dec, rules)
    assert_is_a_pursuit(problem, *screen(problem, operands), 2e-5)


def test_a_used_up_shortlist_is_not_the_end():
    W_enc, b_enc = torch.full((256, 4), 0.5), torch.cat([torch.ones(16), torch.zeros(240)])
    acts, _, _ = matching_pursuit(torch.ones(1, 4), W_enc, b_enc, torch.zeros(256, 4), 20, form="screen")
    assert acts.tolist() == [[3.0] * 16 + [2.0] * 4]


def test_screening_sees_movements_that_are_small_beside_earlier_ones():
    """Repeats go to and fro between two latents, each step a fraction of the one before."""
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        x, W = torch.randn(2, 33, generator=generator), torch.randn(13, 33, generator=generator)
        W = normalize(W, dim=1)
        problem = PursuitProblem(x, W, 0.1 * torch.randn(13, generator=generator), None, Rules(k=13, repeats=True))
        assert_is_a_pursuit(problem, *screen(problem), 1e-6)


@pytest.mark.parametrize("cosine", [-0.3, -0.5, -0.8, -1.0])
def test_scores_rise_where_latents_are_opposed(cosine):
    """Subtracting a latent raises the score of one other, which a mean over the dictionary does not show."""
    generator = torch.Generator().manual_seed(0)
    first, second = (normalize(torch.randn(1000, 256, generator=generator), dim=1) for _ in range(2))
    second = normalize(second - (second * first).sum(dim=1, keepdim=True) * first, dim=1)
    W = torch.cat([first, cosine * first + (1 - cosine**2) ** 0.5 * second])
    pairs = torch.stack([torch.randperm(1000, generator=generator)[:6] for _ in range(64)])
    share = torch.rand(2, 64, 6, 1, generator=generator)
    x = (share[0] * W[pairs] + share[1] * W[pairs + 1000]).sum(dim=1)
    problem = PursuitProblem(x, W, None, None, Rules(k=24))
    assert_is_a_pursuit(problem, *screen(problem), 1e-4)


@pytest.mark.parametrize("where", ["tokens", "latents"])
def test_outliers_hide_nothing(where):
    """One huge element leaves int8 none of the others."""
    generator = torch.Generator().manual_seed(0)
    signal = torch.rand(32, 576, generator=generator) - 0.5
    signal[:, 0] = 0
    W = torch.randn(1000, 576, generator=generator)
    W[:, 0] = 0
    W, along = normalize(W, dim=1), normalize(signal, dim=1)
    across = normalize(W[:32] - (W[:32] * along).sum(dim=1, keepdim=True) * along, dim=1)
    W[:32], W[-32:] = 0.6 * along + 0.8 * across, along
    (signal if where == "tokens" else W)[:, 0] = 241.0
    problem = PursuitProblem(signal, W, None, normalize(W, dim=1), Rules(k=8))
    assert_is_a_pursuit(problem, *screen(problem), 1e-4)
