"""The tables of a comparison as words: who measured what, and what differs between sweeps."""

import re
from collections.abc import Sequence

from orchestrator.comparison.judged import Cell, Row
from orchestrator.comparison.points import place_name
from orchestrator.comparison.report import Report, elsewhere_of, verdict_of
from orchestrator.comparison.verdict import DIGITS, Difference, Summary

FVU_HEADING, ABOVE_HEADING = "FVU", "above the lowest"
FINGERPRINT_LETTERS = 8
MAX_VALUES = 8
"""Of a setting that trials of one sweep have several values of."""
NONE = "-"


def entries(row: Row, report: Report) -> dict[str, str]:
    """What an arm measured, by the headings of the columns, which are the same for every arm."""
    found = {"variant": row.arm.variant} | ({"sweep": row.arm.sweep} if report.several else {})
    found |= {"seeds": seeds(row), FVU_HEADING: fvu(row.fvu)}
    for metric, (heading, digits) in report.metrics.items():
        found[heading] = row.measured[metric].shown(digits) if metric in row.measured else NONE
    difference = ", ".join(filter(None, [above(row.above), elsewhere_of(row)]))
    return found | {ABOVE_HEADING: f"as in {row.same_as}" if row.same_as else difference}


def place(cell: Cell, report: Report) -> list[str]:
    """Hookpoint, expansion and k."""
    point = cell.point
    return [place_name(point, [other.point for other in report.cells]), str(point.expansion_factor), str(point.k)]


def long_table(report: Report) -> list[list[str]]:
    """The headings and a row for every arm of every cell; the verdict stands beside the lowest."""
    rows = [
        [
            *place(cell, report),
            *entries(row, report).values(),
            verdict_of(cell, report) if row.arm == cell.lowest else "",
        ]
        for cell in report.cells
        for row in cell.rows
    ]
    headings = entries(report.cells[0].rows[0], report)
    return [["hookpoint", "expansion", "k", *headings, "verdict"], *rows]


def settings_table(report: Report) -> list[list[str]]:
    """The header and a row for every setting that is not the same in all sweeps; empty where all are."""
    values = report.differences.values
    rows = [[key, *(_values(given.get(label, ())) for label in report.sweeps)] for key, given in values.items()]
    return [["setting", *report.sweeps], *rows] if rows else []


def seeds(row: Row) -> str:
    """How many seeds have a value, and of how many where some have none."""
    if row.fvu is None:
        return "0"
    return str(row.fvu.seeds) if not row.fvu.missing else f"{row.fvu.seeds} of {row.fvu.seeds + row.fvu.missing}"


def fvu(found: Summary | None) -> str:
    """The mean with its spread and its interval."""
    if found is None:
        return NONE
    if found.margin is None:
        return found.shown(DIGITS)
    low, high = found.mean - found.margin, found.mean + found.margin
    return f"{found.shown(DIGITS)} [{low:.{DIGITS}f}, {high:.{DIGITS}f}]"


def above(found: Difference | None) -> str:
    """A difference with its interval."""
    if found is None:
        return NONE
    margin = "" if found.margin is None else f" ± {found.margin:.{DIGITS}f}"
    return f"{found.value:+.{DIGITS}f}{margin}"


def _values(given: Sequence[str]) -> str:
    short = [value[:FINGERPRINT_LETTERS] if re.fullmatch(r"[0-9a-f]{16,}", value) else value for value in given]
    more = f" and {len(short) - MAX_VALUES} more" if len(short) > MAX_VALUES else ""
    return " ".join(short[:MAX_VALUES]) + more if short else NONE
