"""What every trial of a sweep was and measured, as its figures need it: the same from the journal and from MLflow."""

import math
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from orchestrator.atomic import atomic_file
from orchestrator.grid.base_config import HOUSEKEEPING
from orchestrator.grid.config import AXES
from orchestrator.tracking.journal import read_entries
from orchestrator.tracking.typed import typed_column

COUNTS = ("k", "expansion_factor", "seed")
"""Axes that are numbers."""
RESULTS = "results.parquet"
"""A table of all trials of a sweep, in its directory and among its run's artifacts."""
Point = tuple[str, int, float]
"""Metric, step, value."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial: the axes of its grid, the last value of every metric, all values with their steps, other settings."""

    model: str
    hookpoint: str
    k: int
    expansion_factor: int
    variant: str
    seed: int
    metrics: dict[str, float]
    history: dict[str, list[tuple[int, float]]]
    settings: dict[str, str] = field(default_factory=dict)
    """What tells it from trials of other sweeps, by the names of params: lr, batch_tokens, tokens.fingerprint."""


def by_numbers(hookpoint: str) -> list[int | str]:
    """What to sort hookpoints by: layers.4 before layers.10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d{1,18})", hookpoint)]


def records_of(
    sweep_params: Mapping[str, str], trials: Iterable[tuple[Mapping[str, str], Iterable[Point]]]
) -> list[TrialRecord]:
    """Records in the order of figures: hookpoints by their numbers, variants as the grid lists them.

    `trials` are the params and points of each; one without the grid's axes is not a trial, or not one yet.
    """
    # Trials of older versions have no params but the axes; the sweep's own run has the rest.
    records = [_record({**sweep_params, **params}, points) for params, points in trials if _is_trial(params)]
    variants = re.findall(r"'([^']+)'", sweep_params.get("variant", ""))

    def place(record: TrialRecord) -> tuple[object, ...]:
        variant = variants.index(record.variant) if record.variant in variants else len(variants)
        size = record.expansion_factor, record.k
        return record.model, by_numbers(record.hookpoint), *size, variant, record.variant, _rate(record), record.seed

    return sorted(records, key=place)


def journal_records(directory: Path) -> list[TrialRecord]:
    """The records of the sweep whose journal is in `directory`, whether or not MLflow has it yet."""
    params: dict[str | None, dict[str, str]] = defaultdict(dict)
    points: dict[str | None, list[Point]] = defaultdict(list)
    for entry in read_entries(directory):
        if entry["op"] in ("start", "params"):  # MLflow keeps the first value, too
            params[entry["trial"]] = entry["params"] | params[entry["trial"]]
        elif entry["op"] == "metrics":
            points[entry["trial"]] += [(key, entry["step"], value) for key, value in entry["data"].items()]
    sweep_params = params.pop(None, {})
    return records_of(sweep_params, [(given, points[trial]) for trial, given in params.items()])


def write_results(records: Sequence[TrialRecord], path: Path) -> None:
    """A row per trial: the axes of the grid, every other setting, the last value of every metric.

    Settings are columns of the types that they were written from, `settings/NAME` where a metric has that name, too
    (`lr`); metrics are float64. Null is what a trial does not have.
    """
    columns: dict[str, pa.Array] = {}
    for axis in AXES:
        columns[axis] = pa.array([getattr(row, axis) for row in records], pa.int64() if axis in COUNTS else pa.string())
    metrics = sorted({metric for row in records for metric in row.metrics})
    for setting in sorted({setting for row in records for setting in row.settings}):
        name = f"settings/{setting}" if setting in metrics else setting
        columns[name] = typed_column(setting, [row.settings.get(setting) for row in records])
    for metric in metrics:
        columns[metric] = pa.array([row.metrics.get(metric) for row in records], pa.float64())
    with atomic_file(path) as unfinished:
        pa.parquet.write_table(pa.table(columns), unfinished)


def _rate(record: TrialRecord) -> float:
    """Its learning rate, 0 where none is known."""
    try:
        return float(record.settings.get("lr", ""))
    except ValueError:
        return 0.0


def _is_trial(params: Mapping[str, str]) -> bool:
    """Whether it has every axis, and numbers where they are numbers."""
    numbers = (params.get(axis, "") for axis in COUNTS)
    return all(axis in params for axis in AXES) and all(re.fullmatch(r"\d{1,18}", number) for number in numbers)


def _record(params: Mapping[str, str], points: Iterable[Point]) -> TrialRecord:
    steps: dict[str, dict[int, float]] = defaultdict(dict)
    for metric, step, value in points:
        # MLflow's databases store an infinity as the largest float; neither can be drawn.
        if math.isfinite(value) and abs(value) < sys.float_info.max:
            steps[metric][step] = value
    history = {metric: sorted(values.items()) for metric, values in steps.items()}
    return TrialRecord(
        model=params["model"],
        hookpoint=params["hookpoint"],
        k=int(params["k"]),
        expansion_factor=int(params["expansion_factor"]),
        variant=params["variant"],
        seed=int(params["seed"]),
        metrics={metric: values[-1][1] for metric, values in history.items()},
        history=history,
        settings={key: text for key, text in params.items() if key not in (*AXES, *HOUSEKEEPING)},
    )
