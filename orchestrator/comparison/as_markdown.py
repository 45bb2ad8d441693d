"""A comparison as Markdown."""

from orchestrator.comparison.columns import long_table, settings_table
from orchestrator.comparison.report import Report, headings, notes
from orchestrator.comparison.table import markdown


def as_markdown(report: Report) -> str:
    """The sweeps, what differs, and a row for every arm of every cell."""
    parts = ["\n".join(f"- {line}" for line in headings(report))]
    if report.several and (settings := settings_table(report)):
        parts.append(markdown(settings))
    return "\n\n".join([*parts, markdown(long_table(report)), *notes(report)]) + "\n"
