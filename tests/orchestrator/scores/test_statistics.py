"""Intervals that hold what they should, matching that matches, and populations compared."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.scores.statistics import (
    CALIPER,
    Population,
    compare,
    difference_interval,
    matched,
    mean_interval,
)

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=30)
RATES = st.lists(st.floats(1e-6, 1), max_size=12)


def population(values: list[float], rates: list[float] | None = None, draws: list[int] | None = None) -> Population:
    n = len(values)
    return Population(tuple(values), tuple(rates or [0.01] * n), tuple(draws or [0] * n), tuple(map(float, range(n))))


@given(SCORES)
def test_a_mean_is_within_its_interval(values: list[float]) -> None:
    found = mean_interval(values)
    assert found.low - 1e-9 <= found.value <= found.high + 1e-9
    assert found.value == pytest.approx(np.mean(values))
    assert found == mean_interval(values), "the same every time"


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered = [found.low <= 0.5 <= found.high for found in (mean_interval(rng.uniform(0, 1, 40)) for _ in range(300))]
    assert 0.90 <= np.mean(covered) <= 0.98


def test_a_difference_has_the_width_of_both() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.uniform(0, 1, 50), rng.uniform(0, 1, 50)
    found, one = difference_interval(a, b), mean_interval(a)
    assert found.value == pytest.approx(a.mean() - b.mean())
    assert (found.high - found.low) / (one.high - one.low) == pytest.approx(math.sqrt(2), rel=0.15)


def test_nothing_gives_no_number() -> None:
    assert math.isnan(mean_interval([]).value)
    assert math.isnan(difference_interval([], [0.5]).value)
    assert population([]).summary(0.5)["n"] == 0


@given(RATES, RATES)
def test_pairs_are_one_to_one_and_alike(one: list[float], other: list[float]) -> None:
    pairs = matched(one, other)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    assert all(abs(math.log10(one[i] / other[j])) <= CALIPER for i, j in pairs)
    left = [(i, j) for i in range(len(one)) for j in range(len(other))]
    taken = ({i for i, _ in pairs}, {j for _, j in pairs})
    free = [(i, j) for i, j in left if i not in taken[0] and j not in taken[1]]
    assert not any(abs(math.log10(one[i] / other[j])) < CALIPER - 1e-9 for i, j in free), "two were left alone"


def test_rates_alone_make_a_difference_that_matching_removes() -> None:
    """The score is the firing rate's doing: rare latents score high in both, and one has more of them."""
    rng = np.random.default_rng(0)
    rare, common = rng.uniform(1e-4, 2e-4, 40), rng.uniform(1e-2, 2e-2, 40)
    a = [*rare[:30], *common[:10]]
    b = [*rare[30:], *common[10:]]
    score = {rate: (0.9 if rate < 1e-3 else 0.5) + rng.normal(0, 0.02) for rate in (*a, *b)}
    found = compare(population([score[r] for r in a], a), population([score[r] for r in b], b))
    assert found.everything.low > 0.1
    assert found.matched.low < 0.01 < found.matched.high + 0.02
    assert abs(found.matched.value) < 0.03
    assert found.pairs >= 16


def test_a_summary_has_the_plain_figures() -> None:
    values = [0.2, 0.4, 0.6, 0.8, 1.0, 0.3]
    found = population(values, draws=[0, 0, 1, 1, 2, 2]).summary(0.5)
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["median"] == pytest.approx(0.5)
    assert found["p10"] == pytest.approx(np.percentile(values, 10))
    assert found["below_chance_pct"] == pytest.approx(50)
    assert found["draw_sd"] == pytest.approx(np.std([0.3, 0.7, 0.65], ddof=1))


def test_groups_are_by_decade_and_by_half_of_the_steps() -> None:
    found = population([0.1, 0.2, 0.3, 0.4], [0.002, 0.009, 0.02, 0.5])
    assert {name: each.value for name, each in found.by_rate().items()} == pytest.approx(
        {"1e-3 to 1e-2": 0.15, "1e-2 to 1e-1": 0.3, "1e-1 to 1e0": 0.4}
    )
    assert {name: each.value for name, each in found.by_step(4).items()} == pytest.approx({"early": 0.2, "late": 0.4})


def test_several_populations_are_one() -> None:
    joined = Population.joined([population([0.1]), population([0.2, 0.3])])
    assert joined.values == (0.1, 0.2, 0.3) and joined.steps == (0.0, 0.0, 1.0)
    assert Population.joined([]) == population([])
