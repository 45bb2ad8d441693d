"""Tables of the page: results, settings, and the numbers of every figure."""

from collections.abc import Sequence
from html import escape

from orchestrator.figures.shapes import Panel

NARROW = 4
"""Columns that fit a telephone; rows of more are set one below the other there."""
LONG = 30
"""Letters of a value; one of more has a line of its own."""


def table(rows: Sequence[Sequence[str]]) -> str:
    """HTML of a table whose first row is its header, and whose rows begin with what they are of; empty without rows."""
    if not rows:
        return ""
    header, *others = rows
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "\n".join(f"<tr>{_cells(header, row)}</tr>" for row in others)
    plain = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    if len(header) <= NARROW:
        return f"<table>\n{plain}"
    return f'<div class="scroll" role="region" aria-label="Table" tabindex="0">\n<table class="wide">\n{plain}\n</div>'


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """HTML of names and values."""
    entries = []
    for name, text in rows:
        kind = ' class="long"' if len(text) > LONG else ""
        entries.append(f"<div{kind}><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>\n")
    return f"<dl>\n{''.join(entries)}</dl>"


def numbers_of(panel: Panel) -> list[list[str]]:
    """Everything that a panel shows, a header first."""
    if panel.bars:
        return _numbers_of_bars(panel)
    return _numbers_of_points(panel) if any(line.labels for line in panel.lines) else _numbers_of_curves(panel)


def _numbers_of_bars(panel: Panel) -> list[list[str]]:
    return [["variant", panel.xlabel], *([bar.name, _value(bar.value, bar.spread)] for bar in panel.bars)]


def _numbers_of_points(panel: Panel) -> list[list[str]]:
    """Lines whose x are measured, too."""
    rows = [["variant", "k", panel.xlabel, panel.ylabel]]
    for line in panel.lines:
        spreads = _spreads(line.y, line.band)
        for label, x, y, spread in zip(line.labels, line.x, line.y, spreads, strict=True):
            rows.append([line.name, label, f"{x:.1f}", _value(y, spread)])
    return rows


def _numbers_of_curves(panel: Panel) -> list[list[str]]:
    """Lines that share their x, a column each."""
    columns = [dict(zip(line.x, map(_value, line.y, _spreads(line.y, line.band)), strict=True)) for line in panel.lines]
    xs = sorted({x for line in panel.lines for x in line.x})
    names = [f"{line.name}, {panel.ylabel}" for line in panel.lines]
    return [[panel.xlabel, *names], *([f"{x:g}", *(column.get(x, "-") for column in columns)] for x in xs)]


Spread = tuple[float, float] | None


def _spreads(y: Sequence[float], band: tuple[Sequence[float], Sequence[float]] | None) -> Sequence[Spread]:
    return [*zip(*band, strict=True)] if band else [None] * len(y)


def _value(value: float, spread: Spread) -> str:
    return f"{value:.4f}" + (f" ({spread[0]:.4f} to {spread[1]:.4f})" if spread and spread[0] < spread[1] else "")


def _cells(header: Sequence[str], row: Sequence[str]) -> str:
    """Each with the name of its column, which stands before it where the row is set one below the other."""
    first, *others = zip(header, row, strict=True)
    head = f'<th scope="row" data-of="{escape(first[0])}">{escape(first[1])}</th>'
    return head + "".join(f'<td data-of="{escape(name)}">{escape(text)}</td>' for name, text in others)
