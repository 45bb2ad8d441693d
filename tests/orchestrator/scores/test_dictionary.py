"""Duplicates among latents, latents that another seed finds again, and how rarely they fire."""

import pytest
import torch

from orchestrator.scores.dictionary import (
    directions,
    firing_rates,
    largest_cosines,
    metrics,
    shared_by_seeds,
    shared_latents,
)
from orchestrator.scores.reconstruction import Firing
from tests.support.coders import make_coder


def rows(latents: int = 60, width: int = 40, seed: int = 0) -> torch.Tensor:
    given = torch.randn(latents, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(given, dim=1)


def test_largest_cosines_are_those_of_the_definition() -> None:
    given = rows(3000, 16)
    given[7] = given[2500]
    cosines = given.double() @ given.double().T
    cosines.fill_diagonal_(-1)
    torch.testing.assert_close(largest_cosines(given), cosines.amax(dim=1).float(), rtol=0, atol=1e-5)
    assert largest_cosines(given)[7] == pytest.approx(1, abs=1e-6)


def test_shuffled_latents_are_all_found_again_and_others_are_not() -> None:
    given = rows()
    shuffled = given[torch.randperm(60, generator=torch.Generator().manual_seed(1))]
    assert shared_latents(given, shuffled) == 1.0
    assert shared_latents(given, -given) == 0.0
    half = torch.cat([given[:30], rows(30, seed=5)])
    assert shared_latents(given, half) == 0.5
    assert shared_by_seeds([given, shuffled, half]) == pytest.approx([0.75, 0.75, 0.5])


def test_one_partner_each() -> None:
    """Ten copies of one row are no more than one row found again."""
    one, other = rows(10), rows(10, seed=3)
    one[:] = one[0]
    other[0] = one[0]
    assert shared_latents(one, other) == 0.1


def test_coders_of_different_size_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="must be equal"):
        shared_latents(rows(10), rows(11))


@pytest.mark.parametrize("variant", ["topk", "mp-big-decoder", "transcoder"])
def test_directions_have_length_one(variant: str) -> None:
    found = directions(make_coder(variant=variant))
    assert found.shape == (40, 10)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(40))


def test_rates_fall_into_half_decades_and_the_dead_into_none() -> None:
    firing = Firing(1000, torch.tensor([0, 1, 5, 40, 1000]), torch.zeros(5, dtype=torch.float64))
    found = firing_rates(firing)
    assert sum(found["latents"]) == 4
    assert metrics(make_coder(num_latents=5), firing)["latents/never_fired_pct"] == 20.0
    for edge, following, latents in zip(found["edges"], found["edges"][1:], found["latents"], strict=False):
        inside = [rate for rate in (0.001, 0.005, 0.04, 1.0) if edge <= rate < following or rate == following == 1.0]
        assert len(inside) == latents
