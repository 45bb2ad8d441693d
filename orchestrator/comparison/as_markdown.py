"""A comparison as Markdown."""

from collections.abc import Sequence

from orchestrator.comparison.columns import long_table, settings_table
from orchestrator.comparison.report import Report, headings, notes
from orchestrator.comparison.table import row_of


def as_markdown(report: Report) -> str:
    """The sweeps, what differs, and a row for every arm of every cell."""
    parts = ["\n".join(f"- {line}" for line in headings(report))]
    if report.several and (settings := settings_table(report)):
        parts.append(_table(settings))
    return "\n\n".join([*parts, _table(long_table(report)), *notes(report)]) + "\n"


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join([row_of(rows[0]), "|" + "---|" * len(rows[0]), *map(row_of, rows[1:])])
