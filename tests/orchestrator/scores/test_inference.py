"""A trained dictionary under other inference: beside the obvious computation, and the bound beside SciPy's."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor

from models import VARIANTS, reencode
from orchestrator.activations.shards import Shard
from orchestrator.scores import inference
from orchestrator.scores.held_out import HeldOutTokens
from orchestrator.scores.inference import NON_NEGATIVE, OWN, WITH_OTHERS, at_k, metrics, non_negative, values_at_k
from tests.support.coders import AUTOENCODERS, make_coder, make_target, make_tokens
from tests.support.definitions import plain_fvu

TOKENS = 90


class OneShard:
    """A shard in memory."""

    def __init__(self, variant: str) -> None:
        x, y = make_tokens(TOKENS), make_target(variant, TOKENS)
        usable, massive = np.arange(TOKENS) % 9 > 0, np.arange(TOKENS) == 5
        self.ordinary = torch.from_numpy(usable & ~massive)
        self.x, self.y = x, x if y is None else y
        self.shard = Shard(x.numpy(), usable, massive, None if y is None else y.numpy())

    def read(self, split: str, index: int, upcoming: list[int]) -> Shard:
        assert (split, index, upcoming) == ("val", 0, [])
        return self.shard


def fvu(y: Tensor, out: Tensor) -> float:
    return float(plain_fvu(y.double(), out.double()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_figures_are_of_the_same_ordinary_tokens(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "TOKENS", 50)
    monkeypatch.setattr(inference, "AT_ONCE", 7)
    there = OneShard(variant)
    coder = make_coder(variant=variant, k=4, scale=0.5, target_scale=2.0)
    if VARIANTS[variant].free_decoder:
        coder.W_dec.data /= 1.05 * coder.W_dec.data.norm(dim=1, keepdim=True)
    coder.requires_grad_(False)
    found = metrics(coder, HeldOutTokens(there, 1, 16), (2, 4, 8))
    x, y = there.x[there.ordinary][:50], there.y[there.ordinary][:50]
    assert found[OWN] == pytest.approx(fvu(y, coder(x, y).sae_out), rel=1e-5)
    ks = (2, 4, 8) if VARIANTS[variant].any_k else (4,)
    for k in ks:
        acts, indices, _ = coder.encode(x, k)
        assert found[at_k(k)] == pytest.approx(fvu(y, coder.decode(acts, indices, x)), rel=1e-5)
    assert values_at_k(found).keys() == set(ks)
    others = variant in AUTOENCODERS and not VARIANTS[variant].step_decoders
    assert found.keys() == {OWN, *map(at_k, ks), *(WITH_OTHERS if others else ())}
    for name in ("mp", "ito", "omp") if others else ():
        assert found[f"inference/{name}/fvu"] == pytest.approx(fvu(y, reencode(coder, name)(x).sae_out), rel=1e-5)
    if others and variant != "omp":  # whose activations may be negative
        assert found[NON_NEGATIVE] <= found[OWN] * (1 + 1e-5)


def test_rows_that_are_too_long_have_no_matching_pursuit() -> None:
    coder = make_coder(variant="mp-study-free-decoder")
    coder.W_dec.data *= 2
    found = metrics(coder.requires_grad_(False), HeldOutTokens(OneShard("mp"), 1, 16), ())
    assert "inference/mp/fvu" not in found and "inference/omp/fvu" in found


@pytest.mark.parametrize("alike", [False, True], ids=["apart", "crowded"])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_the_bound_is_non_negative_least_squares(k: int, alike: bool) -> None:
    generator = torch.Generator().manual_seed(k)
    rows = torch.randn(40, 12, generator=generator, dtype=torch.float64) + 2.0 * alike
    rows[7] = 0
    target = torch.randn(20, 12, generator=generator, dtype=torch.float64) + 1.0
    indices = torch.stack([torch.randperm(40, generator=generator)[:k] for _ in range(20)])
    active = torch.rand(indices.shape, generator=generator) > 0.2
    acts = non_negative(target, indices, rows, active)
    assert acts.min() >= 0 and not acts[~active].any()
    for one, chosen, used, wanted in zip(acts, indices, active, target, strict=True):
        _, least = nnls((rows[chosen] * used[:, None]).T.numpy(), wanted.numpy())
        assert float((wanted - one @ rows[chosen]).norm()) == pytest.approx(float(least), rel=1e-4)
