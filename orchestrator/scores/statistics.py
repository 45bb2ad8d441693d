"""Scores of a population of latents: their middle, how far the mean can be trusted, and two populations compared."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

RESAMPLES = 2000
CALIPER = 0.15
"""Decades by which the firing rates of two matched latents may differ."""
LEVELS = (2.5, 97.5)
"""Percentiles of an interval."""


class Interval(NamedTuple):
    """A figure and its 95 % bootstrap interval over latents."""

    value: float
    low: float
    high: float


def mean_interval(values: Sequence[float]) -> Interval:
    """Of a mean; NaN without values."""
    given = np.asarray(values, np.float64)
    if len(given) == 0:
        return Interval(*[float("nan")] * 3)
    picks = np.random.default_rng(0).integers(0, len(given), (RESAMPLES, len(given)))
    low, high = np.percentile(given[picks].mean(axis=1), LEVELS)
    return Interval(float(given.mean()), float(low), float(high))


def difference_interval(one: Sequence[float], other: Sequence[float]) -> Interval:
    """Of the mean of one population minus that of another; NaN where one is empty."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if not (len(a) and len(b)):
        return Interval(*[float("nan")] * 3)
    rng = np.random.default_rng(0)
    means = [
        given[rng.integers(0, len(given), (RESAMPLES, len(given)))].mean(axis=1) for given in (a, b)
    ]  # fmt: skip
    low, high = np.percentile(means[0] - means[1], LEVELS)
    return Interval(float(a.mean() - b.mean()), float(low), float(high))


def matched(rates_one: Sequence[float], rates_other: Sequence[float]) -> list[tuple[int, int]]:
    """Pairs of latents, one to one, of firing rates no more than `CALIPER` decades apart; as many as can be.

    Among as many pairs, those whose rates differ least in sum.
    """
    if not (len(rates_one) and len(rates_other)):
        return []
    apart = np.abs(np.log10(rates_one)[:, None] - np.log10(rates_other)[None, :])
    too_far = apart > CALIPER
    rows, columns = linear_sum_assignment(np.where(too_far, 1e6, apart))
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if not too_far[i, j]]


@dataclass(frozen=True)
class Population:
    """The scores one scorer gave to the latents of a coder, those without a score left out."""

    values: tuple[float, ...]
    rates: tuple[float, ...]
    """Firing rates of the same latents."""
    draws: tuple[int, ...]
    """The draw each is from."""
    steps: tuple[float | None, ...]
    """The mean step at which a pursuit chooses each, from 1."""

    @classmethod
    def joined(cls, parts: Sequence["Population"]) -> "Population":
        """Several as one."""
        values, rates, draws, steps = (
            tuple(itertools.chain.from_iterable(getattr(part, name) for part in parts))
            for name in ("values", "rates", "draws", "steps")
        )
        return cls(values, rates, draws, steps)

    def summary(self, chance: float) -> dict[str, float]:
        """Mean with its interval, median, p10, share below chance in percent, n, and the spread between draws.

        `draw_sd` is the standard deviation of the means of the draws.
        """
        mean = mean_interval(self.values)
        given = np.asarray(self.values, np.float64)
        means = [float(np.mean(values)) for values in self.by(self.draws, lambda draw: str(draw)).values()]
        found = {"mean": mean.value, "mean_low": mean.low, "mean_high": mean.high, "n": float(len(given))}
        if len(given):
            found |= {"median": float(np.median(given)), "p10": float(np.percentile(given, 10))}
            found |= {"below_chance_pct": 100.0 * float((given < chance).mean())}
        if len(means) > 1:
            found["draw_sd"] = float(np.std(means, ddof=1))
        return found

    def by(self, keys: Sequence[Any], name: Callable[[Any], str]) -> Mapping[str, list[float]]:
        """The values by the name of their key, in the order of the keys."""
        groups: dict[str, list[float]] = {}
        for key, value in sorted(zip(keys, self.values, strict=True)):
            groups.setdefault(name(key), []).append(value)
        return groups

    def by_rate(self) -> dict[str, Interval]:
        """Means by decade of firing rate."""
        groups = self.by(self.rates, lambda rate: f"1e{int(np.floor(np.log10(rate)))}")
        return {f"{name} to 1e{int(name[2:]) + 1}": mean_interval(values) for name, values in groups.items()}

    def by_step(self, k: int) -> dict[str, Interval]:
        """Means of the latents that are mostly chosen in the first half of the k steps, and in the second."""
        groups = self.by(self.steps, lambda step: "early" if step <= (k + 1) / 2 else "late")
        return {name: mean_interval(values) for name, values in groups.items()}


class Difference(NamedTuple):
    """The mean of one population minus that of another."""

    everything: Interval
    """Of all latents of both."""
    matched: Interval
    """Of pairs of latents of like firing rates."""
    pairs: int


def compare(one: Population, other: Population) -> Difference:
    """Whether one population scores higher, and whether it still does among latents of like firing rates."""
    pairs = matched(one.rates, other.rates)
    apart = [one.values[i] - other.values[j] for i, j in pairs]
    return Difference(difference_interval(one.values, other.values), mean_interval(apart), len(pairs))
