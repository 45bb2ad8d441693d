"""Trials put beside each other where they can be compared: the same input, size and k."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from models.variants import VARIANTS
from orchestrator.tracking.records import TrialRecord

FVU = "val/fvu"
BASELINES = ("topk", "sst")
"""Variants that others are compared with come first."""

OF_SWEEP = " ("
"""Between a variant and its sweep; no variant has it in its name."""

Seeds = Mapping[int, float | None]
"""A value for each seed, None where the trial has none (yet)."""


class Point(NamedTuple):
    """Where coders can be compared. A transcoder reads another input than an autoencoder: they never meet."""

    model: str
    hookpoint: str
    expansion_factor: int
    k: int
    transcode: bool


class Arm(NamedTuple):
    """What is compared at a point."""

    variant: str
    sweep: str = ""
    """Its name, where several sweeps are compared."""


def in_sweep(variant: str, sweep: str) -> str:
    """What a variant is called where other sweeps have it too, or other rates; `base_of` still knows what it is."""
    return f"{variant}{OF_SWEEP}{sweep})"


def base_of(variant: str) -> str:
    """The variant of the registry that something is called after."""
    return variant.partition(OF_SWEEP)[0]


def rates_of(records: Sequence[TrialRecord]) -> set[str | None]:
    """The learning rates of trials."""
    return {record.settings.get("lr") for record in records}


def by_rate(records: Sequence[TrialRecord], *, always: bool = False) -> list[TrialRecord]:
    """Variants named with their learning rate where a sweep has several: what is compared is a variant at one."""
    if len(rates_of(records)) < 2 and not always:
        return list(records)
    return [replace(each, variant=in_sweep(each.variant, f"lr {each.settings.get('lr')}")) for each in records]


def at_any_rate(arm: Arm) -> Arm:
    """What several rates of one variant in one sweep have in common, whichever of `by_rate` it is."""
    return arm._replace(variant=re.sub(r" \(lr [^()]*\)", "", arm.variant))


@dataclass(frozen=True)
class Comparison:
    """The values of one metric, by point and arm, in the order of the records."""

    values: dict[Point, dict[Arm, Seeds]]

    @property
    def arms(self) -> list[Arm]:
        """Of all points; baselines first."""
        found = dict.fromkeys(arm for arms in self.values.values() for arm in arms)
        return sorted(found, key=lambda arm: base_of(arm.variant) not in BASELINES)

    @property
    def seeds(self) -> int:
        """The most that any arm has."""
        return max((len(seeds) for arms in self.values.values() for seeds in arms.values()), default=0)


def trials_of(sweeps: Mapping[str, Sequence[TrialRecord]]) -> dict[Point, dict[Arm, dict[int, TrialRecord]]]:
    """The trials of sweeps, by point, arm and seed; `sweeps` are records by name."""
    found: dict[Point, dict[Arm, dict[int, TrialRecord]]] = {}
    for name, records in sweeps.items():
        for record in records:
            arms = found.setdefault(point_of(record), {})
            arms.setdefault(Arm(record.variant, name), {})[record.seed] = record
    return found


def seeds_of(trials: Mapping[int, TrialRecord], metric: str = FVU) -> Seeds:
    """The values that the trials of one arm have."""
    return {seed: record.metrics.get(metric) for seed, record in trials.items()}


def compare(sweeps: Mapping[str, Sequence[TrialRecord]], metric: str = FVU) -> Comparison:
    """Put the values of sweeps beside each other; `sweeps` are records by name, a single one may be nameless."""
    found = trials_of(sweeps)
    return Comparison(
        {point: {arm: seeds_of(trials, metric) for arm, trials in arms.items()} for point, arms in found.items()}
    )


def point_of(record: TrialRecord) -> Point:
    """Where a trial can be compared with others."""
    recipe = VARIANTS.get(base_of(record.variant))
    transcode = recipe is not None and recipe.transcode
    return Point(record.model, record.hookpoint, record.expansion_factor, record.k, transcode)


def place_name(point: Point, points: Collection[Point]) -> str:
    """The hookpoint; with the model where `points` have several, and what is transcoded where not all of them are."""
    model = f"{point.model} " if len({other.model for other in points}) > 1 else ""
    mixed = len({other.transcode for other in points}) > 1
    return f"{model}{point.hookpoint}{', transcoded' if mixed and point.transcode else ''}"
