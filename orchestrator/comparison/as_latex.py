"""A comparison as tables of LaTeX, with the rules of its package booktabs."""

import re
from collections.abc import Sequence

from orchestrator.comparison.columns import FVU_HEADING, long_table, settings_table
from orchestrator.comparison.report import Report, headings, notes

SIGNS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$", "…": r"\ldots{}",
    "[": "{[}", "]": "{]}", "-": "{-}", "−": "$-$",
}  # fmt: skip
"""What LaTeX reads as something else, or not at all: brackets after a row's end, hyphens that join to a dash."""


def as_latex(report: Report) -> str:
    """What differs and what was measured as two `tabular`s; sweeps and notes are comments. A winner's FVU is bold."""
    comments = [f"% {line}" for line in (r"\usepackage{booktabs}", *headings(report), *notes(report))]
    parts = ["\n".join(comments)]
    if report.several and (settings := settings_table(report)):
        parts.append(_tabular(settings[0], [[escaped(row) for row in settings[1:]]]))
    head, *rows = long_table(report)
    shown = iter([escaped(row) for row in rows])
    blocks = [[_emphasised(next(shown), head, row.arm == cell.winner) for row in cell.rows] for cell in report.cells]
    parts.append(_tabular(head, blocks))
    return "\n\n".join(parts) + "\n"


def _emphasised(row: list[str], head: Sequence[str], winner: bool) -> list[str]:
    return [
        rf"\textbf{{{word}}}" if winner and name == FVU_HEADING else word for name, word in zip(head, row, strict=True)
    ]


def escaped(words: Sequence[str]) -> list[str]:
    """Words as LaTeX shows them."""
    minus = (re.sub(r"(^|[ \[])-(?=\d)", r"\1−", word) for word in words)
    return ["".join(SIGNS.get(letter, letter) for letter in word) for word in minus]


def _tabular(head: Sequence[str], blocks: Sequence[Sequence[Sequence[str]]]) -> str:
    """`blocks` are rows of escaped words, with a rule between two of them."""
    bodies = ["\n".join(f"{' & '.join(row)} \\\\" for row in rows) for rows in blocks]
    return "\n".join([
        rf"\begin{{tabular}}{{{'l' * len(head)}}}", r"\toprule", f"{' & '.join(escaped(head))} \\\\", r"\midrule",
        "\n\\midrule\n".join(bodies), r"\bottomrule", r"\end{tabular}",
    ])  # fmt: skip
