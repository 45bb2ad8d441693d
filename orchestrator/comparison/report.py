"""What is said of sweeps beside each other, before any format is given to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from orchestrator.comparison.judged import Cell, Row, judge
from orchestrator.comparison.labels import labels
from orchestrator.comparison.points import FVU, Arm, by_rate, in_sweep, rates_of
from orchestrator.comparison.scores import PREFIX, scorers_of
from orchestrator.comparison.settings import MODEL, Differences, differences
from orchestrator.comparison.table import ONE_SEED
from orchestrator.errors import UserError
from orchestrator.tracking.reader import TrackedSweep
from orchestrator.tracking.views import CE_RECOVERED

SEVERAL_SEEDS = (
    "Means of several seeds have their standard deviation (±) and, in brackets, their 95 % interval (Student's t). "
    "Differences have the 95 % interval of pairs of equal seeds where those got the same tokens in the same order, "
    "Welch's elsewhere; a winner is named where all of it is above 0."
)


@dataclass(frozen=True)
class Report:
    """Sweeps by what they are called here, and what came out of putting them beside each other."""

    sweeps: dict[str, TrackedSweep]
    cells: list[Cell]
    differences: Differences

    @property
    def several(self) -> bool:
        """Whether there is more than one sweep to tell apart."""
        return len(self.sweeps) > 1

    @cached_property
    def metrics(self) -> dict[str, tuple[str, int]]:
        """Metrics beside FVU that any trial has, with the heading and the digits of their columns."""
        found = {metric for cell in self.cells for row in cell.rows for metric in row.measured}
        scores = {f"{PREFIX}{scorer}/mean": (scorer, 3) for scorer in scorers_of(found)}
        columns = {CE_RECOVERED: ("CE recovered", 3), **scores, "dead_pct": ("dead %", 1), "l0": ("l0", 1)}
        return {metric: column for metric, column in columns.items() if metric in found}

    def name(self, arm: Arm) -> str:
        """What an arm is called among the others of its cell."""
        return in_sweep(*arm) if self.several else arm.variant


def report_on(sweeps: Sequence[TrackedSweep]) -> Report:
    """Raises UserError where no trial of any has finished."""
    by_label = dict(zip(labels(sweeps), sweeps, strict=True))
    records = {label: sweep.records for label, sweep in by_label.items()}
    if not any(FVU in record.metrics for found in records.values() for record in found):
        named = ", ".join(repr(sweep.name) for sweep in sweeps)
        raise UserError(f"run {named}: no trial has finished, so there is nothing to compare")
    several = any(len(rates_of(found)) > 1 for found in records.values())
    told_apart = {label: by_rate(found, always=several) for label, found in records.items()}
    return Report(by_label, judge(told_apart), differences(records))


def headings(report: Report) -> list[str]:
    """A line for each sweep: its run, and how many of its trials have a result."""
    lines = []
    for label, sweep in report.sweeps.items():
        finished = sum(FVU in record.metrics for record in sweep.records)
        trials = f"{finished} of {len(sweep.records)} trials finished"
        newest = f", the newest of {sweep.namesakes + 1} with this name" if sweep.namesakes else ""
        name = "" if label == sweep.name else f"{sweep.name}, "
        lines.append(f"{label}: {name}run {sweep.run_id}{newest}, {trials}")
    return lines


def verdict_of(cell: Cell, report: Report) -> str:
    """Who is lowest by how much, and how that was found; nothing where there is nothing to compare."""
    found, rival = cell.verdict, cell.rival
    if found is None or rival is None:
        return ""
    lowest, second = report.name(found.lowest), report.name(found.second)
    words = [found.describe(lowest)]
    if sum(row.fvu is not None and row.same_as is None for row in cell.rows) > 2:
        words.append(f"before {second}" if found.winner else f"{lowest} next to {second}")
    if found.margin is not None:
        words.append(f"paired by {found.seeds} seeds" if found.paired else "Welch")
    return ", ".join(filter(None, [*words, elsewhere_of(rival)]))


def notes(report: Report) -> list[str]:
    """What a reader has to know of the numbers, a sentence or two each."""
    found = [*_not_alike(report), *_repeated(report)]
    alone = not any(len({row.arm.sweep for row in cell.rows}) > 1 for cell in report.cells)
    if report.several and alone:
        found.append(
            "No model, hookpoint, size and k is in more than one of the sweeps, so they are not compared with each "
            "other."
        )
    for label, keys in report.differences.unrecorded.items():
        found.append(f"Not recorded in {label}: {', '.join(keys)}.")
    summaries = [row.fvu for cell in report.cells for row in cell.rows if row.fvu]
    if any(fvu.seeds > 1 for fvu in summaries):
        found.append(SEVERAL_SEEDS)
    if any(cell.verdict and cell.verdict.margin is None for cell in report.cells):
        found.append(ONE_SEED)
    return found


def elsewhere_of(row: Row) -> str:
    """By what an arm cannot be held against the lowest of its cell as it stands; empty where nothing is."""
    return "" if not row.elsewhere else "another model" if row.elsewhere[0] in MODEL else "other text"


def _not_alike(report: Report) -> list[str]:
    """Pairs of sweeps that FVU does not mean the same in, with the settings it follows from."""
    pairs: dict[tuple[str, str, str], dict[str, None]] = {}
    for cell in report.cells:
        for row in cell.rows:
            if row.elsewhere and cell.lowest:
                first, second = sorted((cell.lowest.sweep, row.arm.sweep), key=list(report.sweeps).index)
                pairs.setdefault((elsewhere_of(row), first, second), {}).update(dict.fromkeys(row.elsewhere))
    what = {
        "another model": "{} and {} did not run on the same model ({}): their FVU is of other activations.",
        "other text": "{} and {} do not have the same tokens ({}): their FVU stands on different held-out text.",
    }
    return [what[kind].format(first, second, ", ".join(keys)) for (kind, first, second), keys in pairs.items()]


def _repeated(report: Report) -> list[str]:
    """Pairs of sweeps with the same trials, and how far apart those came out: versions and devices round otherwise."""
    pairs: dict[tuple[str, str], list[float]] = {}
    for cell in report.cells:
        for row in cell.rows:
            if row.same_as:
                pairs.setdefault((row.same_as, row.arm.sweep), []).extend(row.apart)
    lines = []
    for (first, second), apart in pairs.items():
        largest = max(apart, default=0.0)
        differ = f" FVU of equal seeds differs by up to {largest:.1g}." if largest else ""
        lines.append(
            f"Trials of {second} have the axes and settings of trials of {first}: they are shown, and not compared "
            f"with themselves.{differ}"
        )
    return lines
