"""The result of a sweep in one sentence."""

from collections import Counter
from collections.abc import Mapping, Sequence

from orchestrator.comparison.points import Arm, Comparison, Point, Seeds, compare, place_name
from orchestrator.comparison.verdict import CONFIDENCE, Verdict, summary, verdict
from orchestrator.tracking.records import TrialRecord

KINDS = ("autoencoders", "transcoders")
"""Told apart where there are both: they are never compared."""


def sentence(records: Sequence[TrialRecord]) -> str:
    """Who has the lowest held-out FVU, how often, and on how many seeds that rests."""
    found = compare({"": records})
    kinds = sorted({point.transcode for point in found.values})
    parts = [_of_kind({point: arms for point, arms in found.values.items() if point.transcode is kind}, found, kind)
             for kind in kinds]  # fmt: skip
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _of_kind(values: Mapping[Point, Mapping[Arm, Seeds]], comparison: Comparison, transcode: bool) -> str:
    verdicts = {point: judged for point, arms in values.items() if (judged := verdict(arms)) is not None}
    mixed = len({point.transcode for point in comparison.values}) > 1
    if len(verdicts) == 1:
        ((point, judged),) = verdicts.items()
        return f"lowest held-out FVU at {_where(point, comparison)}: {judged.describe(judged.lowest.variant)}"
    if verdicts:
        return _tally(list(verdicts.values()), f" of {KINDS[transcode]}" if mixed else "")
    return _alone(values, comparison)


def _tally(verdicts: Sequence[Verdict], kind: str) -> str:
    """Who won how many of several comparisons."""
    wins = Counter(judged.winner.variant for judged in verdicts if judged.winner)
    untold = len(verdicts) - wins.total()
    where = f"{len(verdicts)} comparisons{kind} at the same input, expansion and k"
    if not wins:
        return f"none of {where} has a winner ({_seeds(verdicts)})"
    (first, most), *others = wins.most_common()
    counts = [f"{first} has the lowest held-out FVU in {most}", *(f"{name} in {count}" for name, count in others)]
    counts += [f"in {untold} there is no winner"] if untold else []
    return f"of {where}, {', '.join(counts)} ({_seeds(verdicts)})"


def _seeds(verdicts: Sequence[Verdict]) -> str:
    """On what the verdicts rest."""
    single = sum(judged.margin is None for judged in verdicts)
    if single == len(verdicts):
        return "one seed, which another may well turn around"
    counts = {judged.seeds for judged in verdicts}
    seeds = f"{'up to ' if len(counts) > 1 else ''}{max(counts)} seeds"
    several = f"{seeds}; all of a winner's {100 * CONFIDENCE:.0f} % interval is above 0"
    return several + (f", but in {single} there is one seed" if single else "")


def _alone(values: Mapping[Point, Mapping[Arm, Seeds]], comparison: Comparison) -> str:
    """Where no two variants meet."""
    means = [(point, arm, found) for point, arms in values.items() for arm, seeds in arms.items()
             if (found := summary(seeds)) is not None]  # fmt: skip
    if len(means) == 1:
        ((point, arm, found),) = means
        seeds = "one seed" if found.seeds == 1 else f"{found.seeds} seeds"
        place = _where(point, comparison)
        return f"nothing to compare: {arm.variant} at {place} has a held-out FVU of {found} ({seeds})"
    return "nothing to compare: no two variants have a held-out FVU at the same input, expansion and k"


def _where(point: Point, comparison: Comparison) -> str:
    return f"{place_name(point, comparison.values)}, expansion {point.expansion_factor}, k {point.k}"
