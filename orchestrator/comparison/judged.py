"""Sweeps beside each other: what every arm of every point measured, and who is lowest there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.comparison.points import BASELINES, FVU, Arm, Point, base_of, seeds_of, trials_of
from orchestrator.comparison.settings import Settings, elsewhere, same_order, same_training
from orchestrator.comparison.verdict import Difference, Summary, Verdict, difference, summary, verdict
from orchestrator.tracking.records import TrialRecord, by_numbers

Trials = Mapping[int, TrialRecord]
"""The trials of one arm at one point, by seed."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One arm at one point."""

    arm: Arm
    settings: Settings
    fvu: Summary | None
    """None where no trial has a value."""
    measured: dict[str, Summary]
    """Every metric that its trials have."""
    above: Difference | None
    """Its FVU above that of the lowest arm; None of that arm itself, and where there is nothing to subtract."""
    elsewhere: tuple[str, ...]
    """Settings by which the lowest arm's model or held-out text is another than this one's."""
    same_as: str | None
    """The sweep that has the same trials: this arm is shown, and compared with none."""
    apart: tuple[float, ...]
    """By how much its FVU is another than theirs, for every seed that both have."""


@dataclass(frozen=True)
class Cell:
    """What is compared with each other: all arms of one point."""

    point: Point
    rows: list[Row]
    lowest: Arm | None
    """None where no arm has a value."""
    verdict: Verdict | None

    @property
    def winner(self) -> Arm | None:
        """The arm whose lead is more than several seeds make, on the same held-out text as the next."""
        found, rival = self.verdict, self.rival
        return found.winner if found and found.margin is not None and rival and not rival.elsewhere else None

    @property
    def rival(self) -> Row | None:
        """The arm next to the lowest."""
        return next((row for row in self.rows if self.verdict and row.arm == self.verdict.second), None)


def judge(sweeps: Mapping[str, Sequence[TrialRecord]]) -> list[Cell]:
    """A cell for each point, in the order of places, sizes and k; `sweeps` are records by name."""
    found = trials_of(sweeps)
    variants = list(dict.fromkeys(arm.variant for arms in found.values() for arm in arms))
    order = {name: (base_of(name) not in BASELINES, index) for index, name in enumerate(variants)}
    names = list(sweeps)
    cells = []
    for point in sorted(found, key=lambda p: (p.model, p.transcode, by_numbers(p.hookpoint), *p[2:4])):
        arms = sorted(found[point].items(), key=lambda item: (order[item[0].variant], names.index(item[0].sweep)))
        cells.append(_cell(point, dict(arms)))
    return cells


def _cell(point: Point, arms: Mapping[Arm, Trials]) -> Cell:
    same = _repeated(arms)
    seeds = {arm: seeds_of(trials) for arm, trials in arms.items() if arm not in same}
    found = verdict(seeds, lambda one, other: _paired(arms[one], arms[other]))
    means = {arm: fvu.mean for arm in seeds if (fvu := summary(seeds[arm]))}
    lowest = found.lowest if found else min(means, key=lambda arm: means[arm], default=None)
    rows = []
    for arm, trials in arms.items():
        metrics = dict.fromkeys(metric for record in trials.values() for metric in record.metrics)
        above: Difference | None = None
        others: tuple[str, ...] = ()
        if lowest is not None and arm in seeds and arm != lowest:
            above = difference(seeds[lowest], seeds[arm], paired=_paired(arms[lowest], trials))
            others = tuple(elsewhere(_settings(arms[lowest]), _settings(trials)))
        rows.append(
            Row(
                arm=arm, settings=_settings(trials), fvu=summary(seeds_of(trials)), above=above, elsewhere=others,
                measured={metric: mean for metric in metrics if (mean := summary(seeds_of(trials, metric)))},
                same_as=same[arm].sweep if arm in same else None,
                apart=_apart(trials, arms[same[arm]]) if arm in same else (),
            )
        )  # fmt: skip
    return Cell(point, rows, lowest, found)


def _repeated(arms: Mapping[Arm, Trials]) -> dict[Arm, Arm]:
    """Arms that repeat what another sweep did, with the one that has more seeds, or comes first."""
    kept: list[Arm] = []
    repeated: dict[Arm, Arm] = {}
    for arm in sorted(arms, key=lambda arm: len(_finished(arms[arm])), reverse=True):
        settings = _settings(arms[arm])
        same = (k for k in kept if k.variant == arm.variant and same_training(_settings(arms[k]), settings))
        if first := next(same, None):
            repeated[arm] = first
        else:
            kept.append(arm)
    return repeated


def _paired(one: Trials, other: Trials) -> bool:
    """Whether differences are taken seed by seed: one seed means the same to both, and pairs are as many as can be."""
    shared, seeds = _finished(one) & _finished(other), min(len(_finished(one)), len(_finished(other)))
    return same_order(_settings(one), _settings(other)) and len(shared) >= min(2, seeds)


def _apart(one: Trials, other: Trials) -> tuple[float, ...]:
    return tuple(abs(one[seed].metrics[FVU] - other[seed].metrics[FVU]) for seed in _finished(one) & _finished(other))


def _finished(trials: Trials) -> set[int]:
    return {seed for seed, record in trials.items() if FVU in record.metrics}


def _settings(trials: Trials) -> Settings:
    """Trials of one arm at one point differ in their seed alone."""
    return next(iter(trials.values())).settings
