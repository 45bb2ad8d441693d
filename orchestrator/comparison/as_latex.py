"""A comparison as tables of LaTeX, with the rules of its package booktabs."""

from collections.abc import Sequence

from orchestrator.comparison.columns import entries, header, long_table, place, settings_table
from orchestrator.comparison.report import Report, headings, notes, verdict_of

SIGNS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$", "…": r"\ldots{}",
    "[": "{[}", "]": "{]}", "-": "{-}",
}  # fmt: skip
"""What LaTeX reads as something else, or not at all: brackets after a row's end, hyphens that join to a dash."""


def as_latex(report: Report) -> str:
    """What differs and what was measured as two `tabular`s; sweeps and notes are comments. A winner's FVU is bold."""
    comments = [f"% {line}" for line in (r"\usepackage{booktabs}", *headings(report), *notes(report))]
    parts = ["\n".join(comments)]
    if report.several and (settings := settings_table(report)):
        parts.append(_tabular(settings[0], [[escaped(row) for row in settings[1:]]]))
    blocks = []
    for cell in report.cells:
        rows = []
        for row in cell.rows:
            verdict = verdict_of(cell, report) if row.arm == cell.lowest else ""
            shown = escaped([*place(cell, report), *entries(row, report), verdict])
            if row.arm == cell.winner:
                column = 3 + header(report).index("FVU")
                shown[column] = rf"\textbf{{{shown[column]}}}"
            rows.append(shown)
        blocks.append(rows)
    parts.append(_tabular(long_table(report)[0], blocks))
    return "\n\n".join(parts) + "\n"


def escaped(words: Sequence[str]) -> list[str]:
    """Words as LaTeX shows them."""
    return ["".join(SIGNS.get(letter, letter) for letter in word) for word in words]


def _tabular(head: Sequence[str], blocks: Sequence[Sequence[Sequence[str]]]) -> str:
    """`blocks` are rows of escaped words, with a rule between two of them."""
    bodies = ["\n".join(f"{' & '.join(row)} \\\\" for row in rows) for rows in blocks]
    return "\n".join([
        rf"\begin{{tabular}}{{{'l' * len(head)}}}", r"\toprule", f"{' & '.join(escaped(head))} \\\\", r"\midrule",
        "\n\\midrule\n".join(bodies), r"\bottomrule", r"\end{tabular}",
    ])  # fmt: skip
