"""The comparison of one sweep as Markdown: a row for every place, size and k, a column for every variant."""

from collections.abc import Mapping, Sequence

from orchestrator.comparison.points import Arm, Comparison, Point, Seeds, at_any_rate, compare, place_name
from orchestrator.comparison.verdict import summary, verdict
from orchestrator.tracking.records import TrialRecord, by_numbers

ONE_SEED = "One seed: another may well turn a small lead around."
SEVERAL_SEEDS = (
    "Mean ± standard deviation of {} seeds; the lead with its 95 % interval, paired by seed, and a winner where all of "
    "it is above 0."
)


BEST_RATE = " A variant is judged at the learning rate that is best for it on the same held-out text."


def comparison_table(records: Sequence[TrialRecord]) -> str:
    """Held-out FVU, and who is lowest by how much; the note below says of how many seeds."""
    found = compare({"": records})
    return f"{markdown(comparison_rows(found))}\n\n{note_of(found)}"


def comparison_rows(comparison: Comparison) -> list[list[str]]:
    """The table's header, and its row for every point."""
    points = sorted(comparison.values, key=lambda p: (p.model, p.transcode, by_numbers(p.hookpoint), *p[2:4]))
    header = ["hookpoint", "expansion", "k", *(f"{arm.variant} FVU" for arm in comparison.arms), "lowest"]
    return [header, *(_row(point, comparison.values[point], comparison) for point in points)]


def note_of(comparison: Comparison) -> str:
    """What a reader has to know of the numbers."""
    seeds = SEVERAL_SEEDS.format(comparison.seeds) if comparison.seeds > 1 else ONE_SEED
    rates = len(comparison.arms) > len({*map(at_any_rate, comparison.arms)})
    return seeds + BEST_RATE * rates


def _row(point: Point, arms: Mapping[Arm, Seeds], comparison: Comparison) -> list[str]:
    shown = [str(summary(arms.get(arm, {})) or "-") for arm in comparison.arms]
    found = verdict(arms)
    lowest = "-" if found is None else found.describe(found.lowest.variant)
    return [place_name(point, comparison.values), str(point.expansion_factor), str(point.k), *shown, lowest]


def markdown(rows: Sequence[Sequence[object]]) -> str:
    """A table, of which the first row is the header."""
    header, *others = map(row_of, rows)
    return "\n".join([header, "|" + "---|" * len(rows[0]), *others])


def row_of(entries: Sequence[object]) -> str:
    """A row of a Markdown table, which a line in a name does not end."""
    cells = (str(entry).replace("|", "\\|") for entry in entries)
    return f"| {' | '.join(cells)} |"
