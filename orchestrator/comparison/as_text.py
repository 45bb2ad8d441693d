"""A comparison for a terminal."""

import textwrap
from collections.abc import Sequence

from orchestrator.comparison.columns import ABOVE_HEADING, FVU_HEADING, entries, place, settings_table
from orchestrator.comparison.report import Report, headings, notes, verdict_of

WIDTH = 100
"""Of notes."""
WIDEST = 120
"""Of a table that is not parted in two."""
WINNER, LOWEST, OTHER = "* ", "- ", "  "
"""What stands before an arm: several seeds bear out that it wins, it is lowest, or neither."""


def as_text(report: Report) -> str:
    """Aligned tables: what differs, then a block for each cell with its verdict below; notes at the end."""
    parts = ["\n".join(headings(report))]
    if report.several and (settings := settings_table(report)):
        parts.append("\n".join(["what differs", *(f"  {line}".rstrip() for line in aligned(settings))]))
    parts += ["\n".join(lines) for lines in _tables(report)]
    parts += [textwrap.fill(note, WIDTH) for note in notes(report)]
    return "\n\n".join(parts) + "\n"


def _tables(report: Report) -> list[list[str]]:
    """One table, or two where it would be too wide: FVU, and what else was measured."""
    headings = list(entries(report.cells[0].rows[0], report))
    whole = _blocks(report, headings)
    if max(map(len, whole)) <= WIDEST:
        return [whole]
    fvu = headings.index(FVU_HEADING)
    return [
        _blocks(report, [*headings[: fvu + 1], ABOVE_HEADING]),
        _blocks(report, [*headings[:fvu], *headings[fvu + 1 : -1]], verdicts=False),
    ]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines whose columns stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows)
    return [line.rstrip() for line in lines]


def _blocks(report: Report, headings: Sequence[str], *, verdicts: bool = True) -> list[str]:
    """These columns of every arm, below a line for each cell."""
    found = [entries(row, report) for cell in report.cells for row in cell.rows]
    head, *below = aligned([headings, *([row[heading] for heading in headings] for row in found)])
    lines, rows = [f"{OTHER}{head}"], iter(below)
    for cell in report.cells:
        hookpoint, expansion, k = place(cell, report)
        lines += ["", f"{hookpoint}, expansion {expansion}, k {k}"]
        for row in cell.rows:
            mark = WINNER if row.arm == cell.winner else LOWEST if row.arm == cell.lowest else OTHER
            lines.append(f"{mark}{next(rows)}")
        if verdicts and (said := verdict_of(cell, report)):
            lines.append(f"{OTHER}{said}")
    return lines
