"""Whether one arm is lower than the next: said of what several seeds bear out, and of one seed with that said."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import NamedTuple

from scipy.special import stdtrit

from orchestrator.comparison.points import Arm, Seeds, at_any_rate

DIGITS = 4
"""Of what is shown; a lead that is 0 in as many is none."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """The values of one arm at one point."""

    mean: float
    spread: float | None
    """Standard deviation over seeds; None of one."""
    seeds: int
    missing: int
    """Trials that have no value."""

    @property
    def margin(self) -> float | None:
        """Half of the mean's 95 % interval over seeds (Student's t); None with one."""
        return None if self.spread is None else _t(self.seeds - 1) * self.spread / math.sqrt(self.seeds)

    def shown(self, digits: int) -> str:
        """The mean, with the standard deviation of several seeds."""
        return f"{self.mean:.{digits}f}" + ("" if self.spread is None else f" ± {self.spread:.{digits}f}")

    def __str__(self) -> str:
        lost = f" ({self.seeds} of {self.seeds + self.missing} seeds)" if self.missing else ""
        return f"{self.shown(DIGITS)}{lost}"


class Difference(NamedTuple):
    """By how much the values of one arm are above another's."""

    value: float
    margin: float | None
    """Half of its 95 % interval: Student's t of the differences seed by seed, or Welch's; None with one seed."""
    seeds: int
    """That both have; unpaired, of the arm that has fewer."""
    paired: bool


@dataclass(frozen=True)
class Verdict:
    """The arm with the lowest mean against the one after it, over the seeds that both have where they are paired."""

    lowest: Arm
    second: Arm
    lead: float
    """By which the lowest is lower, in the mean."""
    margin: float | None
    """Half of the lead's 95 % interval; None with one seed."""
    seeds: int
    paired: bool

    @property
    def winner(self) -> Arm | None:
        """The lowest, where its lead is more than nothing and more than seeds make; of one seed nobody knows that."""
        return self.lowest if not self.level and (self.margin is None or self.lead > self.margin) else None

    @property
    def level(self) -> bool:
        """Whether the lead is none in the digits that are shown."""
        return round(self.lead, DIGITS) == 0

    def describe(self, name: str) -> str:
        """In words; `name` is what the lowest is called."""
        if self.level and self.margin is None:
            return "level, one seed"
        if self.margin is None:
            return f"{name} by {self.lead:.{DIGITS}f}, one seed"
        lead = f"{self.lead:.{DIGITS}f} ± {self.margin:.{DIGITS}f}"
        return f"{name} by {lead}" if self.winner else f"cannot be told: {lead}"


def summary(seeds: Seeds) -> Summary | None:
    """Of the seeds that have a value; None where none has."""
    found = [value for value in seeds.values() if value is not None]
    if not found:
        return None
    spread = stdev(found) if len(found) > 1 else None
    return Summary(fmean(found), spread, len(found), len(seeds) - len(found))


def difference(lower: Seeds, higher: Seeds, *, paired: bool = True) -> Difference | None:
    """How much higher the second is; None where there is nothing to subtract.

    `paired`: seed by seed, over those that both have. It is right where one seed gives both the same tokens in the
    same order, and with them the same luck. Else the means over all seeds, and Welch's interval.
    """
    if paired:
        lead = summary(_leads(lower, higher))
        return Difference(lead.mean, lead.margin, lead.seeds, True) if lead else None
    one, other = summary(lower), summary(higher)
    if one is None or other is None:
        return None
    return Difference(other.mean - one.mean, _welch(one, other), min(one.seeds, other.seeds), False)


def verdict(arms: Mapping[Arm, Seeds], paired: Callable[[Arm, Arm], bool] = lambda one, other: True) -> Verdict | None:
    """None where fewer than two arms have values that can be subtracted; `paired` says of two arms how they are.

    A variant of a sweep with several learning rates is judged at its best one, where it meets another variant at all.
    """
    means = {arm: found.mean for arm, seeds in arms.items() if (found := summary(seeds))}
    ranked = sorted(means, key=lambda arm: means[arm])
    at_best: dict[Arm, Arm] = {}
    for arm in ranked:
        at_best.setdefault(at_any_rate(arm), arm)
    rivals = list(at_best.values()) if len(at_best) > 1 else ranked
    if len(rivals) < 2:
        return None
    lowest, second = rivals[:2]
    lead = difference(arms[lowest], arms[second], paired=paired(lowest, second))
    if lead is None:
        return None
    if lead.value < 0:  # lower only through a seed that the other has not
        lowest, second, lead = second, lowest, lead._replace(value=-lead.value)
    return Verdict(lowest, second, *lead)


def _leads(lower: Seeds, higher: Seeds) -> Seeds:
    """How much higher the one is, for every seed of which both have a value."""
    pairs = {seed: (value, higher.get(seed)) for seed, value in lower.items()}
    return {seed: b - a for seed, (a, b) in pairs.items() if a is not None and b is not None}


def _welch(one: Summary, other: Summary) -> float | None:
    """Of two means whose seeds have nothing to do with each other, and whose spreads may differ."""
    if one.spread is None or other.spread is None:
        return None
    a, b = one.spread**2 / one.seeds, other.spread**2 / other.seeds
    if a + b == 0:
        return 0.0
    freedom = (a + b) ** 2 / (a**2 / (one.seeds - 1) + b**2 / (other.seeds - 1))
    return _t(freedom) * math.sqrt(a + b)


def _t(freedom: float) -> float:
    """Within so many standard errors lies the truth, as often as `CONFIDENCE` says."""
    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
