"""Whether one arm is lower than the next: said of what several seeds bear out, and of one seed with that said."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.special import stdtrit

from orchestrator.comparison.points import Arm, Seeds

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

    def __str__(self) -> str:
        spread = "" if self.spread is None else f" ± {self.spread:.{DIGITS}f}"
        lost = f" ({self.seeds} of {self.seeds + self.missing} seeds)" if self.missing else ""
        return f"{self.mean:.{DIGITS}f}{spread}{lost}"


@dataclass(frozen=True)
class Verdict:
    """The arm with the lowest mean against the one after it, over the seeds that both have."""

    lowest: Arm
    second: Arm
    lead: float
    """By which the lowest is lower, mean over those seeds."""
    margin: float | None
    """Half of the lead's 95 % interval, paired by seed (Student's t); None with one seed."""
    seeds: int

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


def verdict(arms: Mapping[Arm, Seeds]) -> Verdict | None:
    """None where fewer than two arms have values for a seed that they share."""
    means = {arm: found.mean for arm, seeds in arms.items() if (found := summary(seeds))}
    ranked = sorted(means, key=lambda arm: means[arm])
    if len(ranked) < 2:
        return None
    lowest, second = ranked[:2]
    leads = _leads(arms[lowest], arms[second])
    if not leads:
        return None
    if fmean(leads) < 0:  # lower only through a seed that the other has not
        lowest, second, leads = second, lowest, [-lead for lead in leads]
    return Verdict(lowest, second, fmean(leads), _margin(leads), len(leads))


def _leads(lowest: Seeds, second: Seeds) -> list[float]:
    """How much lower the one is, for every seed of which both have a value."""
    pairs = ((value, second.get(seed)) for seed, value in lowest.items())
    return [other - value for value, other in pairs if value is not None and other is not None]


def _margin(leads: list[float]) -> float | None:
    if len(leads) < 2:
        return None
    return float(stdtrit(len(leads) - 1, (1 + CONFIDENCE) / 2)) * stdev(leads) / math.sqrt(len(leads))
