"""A comparison for programs: a row for every arm of every cell, numbers in full, nothing else."""

import csv
import io

from orchestrator.comparison.judged import Cell, Row
from orchestrator.comparison.points import FVU
from orchestrator.comparison.report import Report
from orchestrator.comparison.verdict import Difference, Summary
from orchestrator.grid.config import AXES

Value = str | int | float | bool | None


def as_csv(report: Report) -> str:
    """Columns by the names of params and metrics in MLflow; what a row has no value of is empty."""
    varied = [key for key in report.differences.values if key not in AXES] if report.several else []
    rows = [_row(row, cell, report, varied) for cell in report.cells for row in cell.rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(row: Row, cell: Cell, report: Report, varied: list[str]) -> dict[str, Value]:
    point, sweep = cell.point, report.sweeps[row.arm.sweep]
    found: dict[str, Value] = {
        "model": point.model, "hookpoint": point.hookpoint, "expansion_factor": point.expansion_factor, "k": point.k,
        "variant": row.arm.variant, "transcode": point.transcode, "sweep": sweep.name, "run_id": sweep.run_id,
    }  # fmt: skip
    found |= {key: row.settings.get(key) for key in varied}
    found |= {"seeds": row.fvu.seeds if row.fvu else 0} | _interval(FVU, row.fvu)
    for metric in report.metrics:
        mean = row.measured.get(metric)
        found |= {metric: mean.mean if mean else None, f"{metric}_sd": mean.spread if mean else None}
    same = report.sweeps[row.same_as].run_id if row.same_as else None
    return found | _above(row.above) | {
        "other_text_or_model": bool(row.elsewhere), "lowest": row.arm == cell.lowest, "winner": row.arm == cell.winner,
        "same_as": same,
    }  # fmt: skip


def _interval(metric: str, found: Summary | None) -> dict[str, Value]:
    """The mean over seeds, its standard deviation, and the ends of its 95 % interval."""
    mean, spread, margin = (found.mean, found.spread, found.margin) if found else (None, None, None)
    return {metric: mean, f"{metric}_sd": spread, **_ends(metric, mean, margin)}


def _above(found: Difference | None) -> dict[str, Value]:
    """Of FVU, from the lowest of the cell."""
    value, margin = (found.value, found.margin) if found else (None, None)
    method = None if found is None or found.margin is None else "paired" if found.paired else "welch"
    return {"above_lowest": value, **_ends("above_lowest", value, margin), "above_lowest_method": method}


def _ends(name: str, middle: float | None, margin: float | None) -> dict[str, Value]:
    if middle is None or margin is None:
        return {f"{name}_low": None, f"{name}_high": None}
    return {f"{name}_low": middle - margin, f"{name}_high": middle + margin}
