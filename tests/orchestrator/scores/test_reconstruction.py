"""Reconstruction by kind of token, and firing, beside their plain definitions in float64."""

import numpy as np
import pytest
import torch
from torch import Tensor

from models import SparseCoder
from orchestrator.activations.shards import Shard
from orchestrator.scores.held_out import HeldOutTokens
from orchestrator.scores.reconstruction import Reconstruction, reconstruction
from tests.support.coders import make_coder, make_tokens

LENGTH, SEQUENCES, WIDTH = 8, 20, 10


class Shards:
    """Shards in memory, of one split."""

    def __init__(self, shards: list[Shard]) -> None:
        self.shards = shards

    def read(self, split: str, index: int, upcoming: list[int]) -> Shard:
        assert split == "val" and all(index < other < len(self.shards) for other in upcoming)
        return self.shards[index]


def shard(seed: int) -> Shard:
    values = make_tokens(LENGTH * SEQUENCES, WIDTH, seed=seed).numpy()
    values[5] *= 1000
    massive = np.zeros(len(values), bool)
    massive[5] = True
    return Shard(values, np.arange(len(values)) % LENGTH > 0, massive)


def tokens_of(shards: list[Shard], batch: int = 37) -> HeldOutTokens:
    return HeldOutTokens(Shards(shards), len(shards), batch)


def test_every_held_out_token_comes_once_and_in_order() -> None:
    shards = [shard(0), shard(1)]
    batches = list(tokens_of(shards))
    places = torch.cat([batch.places_B for batch in batches])
    assert places.tolist() == list(range(2 * LENGTH * SEQUENCES))
    x = torch.cat([batch.x_BD for batch in batches])
    assert torch.equal(x, torch.from_numpy(np.concatenate([each.values_TD for each in shards])))
    ordinary = torch.cat([batch.ordinary_B for batch in batches]).numpy()
    assert np.array_equal(ordinary, np.concatenate([each.usable_T & ~each.massive_T for each in shards]))
    quartiles = torch.cat([batch.quartile_B for batch in batches])[torch.from_numpy(ordinary)]
    assert torch.bincount(quartiles).tolist() == pytest.approx([ordinary.sum() / 4] * 4, abs=2)
    norms = x.norm(dim=1)[torch.from_numpy(ordinary)]
    half = len(norms) // 2  # the first shard
    assert norms[:half][quartiles[:half] == 3].min() >= norms[:half][quartiles[:half] == 2].max()


def explained(y: Tensor, out: Tensor) -> float:
    y, out = y.double(), out.double()
    return float(1 - (y - out).pow(2).sum() / (y - y.mean(dim=0)).pow(2).sum())


@pytest.mark.parametrize("variant", ["topk", "mp", "mp-tied"])
def test_figures_are_those_of_the_definition(variant: str) -> None:
    coder = make_coder(WIDTH, variant=variant)
    shards = [shard(0), shard(1)]
    found = reconstruction(coder, tokens_of(shards), 320)
    x = torch.cat([torch.from_numpy(each.values_TD) for each in shards])
    ordinary = torch.from_numpy(np.concatenate([each.ordinary + i * len(x) // 2 for i, each in enumerate(shards)]))
    with torch.no_grad():
        out = coder(x)
    y, y_hat = x[ordinary].double(), out.sae_out[ordinary].double()
    metrics = found.metrics()
    assert metrics["reconstruction_quality/explained_variance"] == pytest.approx(explained(y, y_hat), rel=1e-5)
    cosine = float(torch.cosine_similarity(y, y_hat, dim=1).mean())
    assert metrics["reconstruction_quality/cossim"] == pytest.approx(cosine, rel=1e-5)
    assert metrics["shrinkage/l2_ratio"] == pytest.approx(float((y_hat.norm(dim=1) / y.norm(dim=1)).mean()), rel=1e-5)
    first = torch.arange(0, len(x), LENGTH)
    name = "reconstruction_quality/explained_variance_first"
    assert metrics[name] == pytest.approx(explained(x[first], out.sae_out[first]), rel=1e-4)
    assert "reconstruction_quality/explained_variance_massive" in metrics
    torch.testing.assert_close(found.mean_D, y.mean(dim=0).float())
    assert found.ordinary_T.nonzero()[:, 0].tolist() == ordinary.tolist()
    assert_fires(found, coder, x[ordinary])


def assert_fires(found: Reconstruction, coder: SparseCoder, x: Tensor) -> None:
    encoded = coder.encode(x)
    counts, steps = [0] * coder.num_latents, [0] * coder.num_latents
    for row in range(len(x)):
        for step in range(coder.cfg.k):
            if encoded.latent_acts[row, step] != 0:
                counts[encoded.latent_indices[row, step]] += 1
                steps[encoded.latent_indices[row, step]] += step
    assert found.firing.tokens == len(x)
    assert found.firing.count_M.tolist() == counts
    assert found.firing.step_M.tolist() == steps


def test_kinds_without_tokens_are_left_out() -> None:
    everything = Shard(make_tokens(40).numpy(), np.ones(40, bool), np.zeros(40, bool))
    metrics = reconstruction(make_coder(), tokens_of([everything]), 40).metrics()
    assert not any(kind in name for name in metrics for kind in ("first", "massive"))


def test_a_zero_token_counts_as_not_shrunk() -> None:
    values = make_tokens(40).numpy()
    values[3] = 0
    metrics = reconstruction(
        make_coder(), tokens_of([Shard(values, np.ones(40, bool), np.zeros(40, bool))]), 40
    ).metrics()
    assert np.isfinite(list(metrics.values())).all()
