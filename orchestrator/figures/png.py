"""Figures as PNG, by matplotlib."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from orchestrator.figures.colours import MARKERS, Look
from orchestrator.figures.shapes import Figure, Line, Panel

DPI = 130
SOME_MARKERS = 8
"""On a curve of very many points."""
PANEL_INCHES = {1: (7.0, 3.6), 2: (4.3, 2.9), 3: (3.07, 2.7)}
"""By columns: figures of 900 to 1200 pixels, which a README shows without shrinking letters much."""
BAR_INCHES = 0.26
LINE_INCHES = 0.2
"""Of a title or a legend."""
LETTER_INCHES = 0.075
MARGIN_INCHES = 0.75
"""For the titles above all panels, and for what is above and below the bars of one."""


def write_png(figure: Figure, path: Path) -> None:
    """Draw the figure into the file `path`; a matplotlibrc of the user's changes nothing."""
    with style.context("default"):
        _write_png(figure, path)


def _write_png(figure: Figure, path: Path) -> None:
    width, panel_height = PANEL_INCHES[figure.columns]
    width *= figure.columns
    names = figure.variants
    legend_columns, legend_rows = 1, 0
    if figure.panels[0].bars:
        panel_height = BAR_INCHES * len(names) + LINE_INCHES * (figure.title_lines - 1) + MARGIN_INCHES
    else:
        legend_columns, legend_rows = _legend_shape(names, width)
    height = MARGIN_INCHES + panel_height * figure.rows + LINE_INCHES * legend_rows
    canvas = Canvas(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06))
    canvas.suptitle(f"{figure.title}\n", fontsize=12, parse_math=False)
    canvas.text(
        0.5, 1 - 0.4 / height, figure.about, fontsize=8.5, ha="center", va="center", color="0.35", parse_math=False
    )
    _panels(canvas, figure)
    if legend_rows:
        handles = [Line2D([], [], **_styled(look), lw=1.5, ms=4.5) for look in figure.looks.values()]
        canvas.legend(
            handles, names, loc="outside lower center", ncols=legend_columns, frameon=False, fontsize=9
        )  # fmt: skip
    canvas.savefig(path, dpi=DPI, format="png")


def _legend_shape(names: Sequence[str], width: float) -> tuple[int, int]:
    """Columns and rows of a legend, as even as they can be."""
    fitting = max(1, int(width / (0.6 + LETTER_INCHES * max(map(len, names)))))
    rows = math.ceil(len(names) / fitting)
    return math.ceil(len(names) / rows), rows


def _panels(canvas: Canvas, figure: Figure) -> None:
    bars, first = bool(figure.panels[0].bars), None
    for index, panel in enumerate(figure.panels):
        axes = canvas.add_subplot(figure.rows, figure.columns, index + 1, sharey=first if bars else None)
        first = first or axes
        axes.set_title(panel.title, fontsize=9.5, parse_math=False)
        axes.set_xlabel(panel.xlabel, fontsize=9)
        axes.tick_params(labelsize=8.5)
        if bars:
            _bars(axes, panel, figure.variants, labelled=index % figure.columns == 0)
        else:
            axes.set_ylabel(panel.ylabel, fontsize=9)
            axes.grid(alpha=0.3)
            _lines(axes, panel)


def _line(axes: Any, line: Line, width: float, *, every: int) -> None:
    """`width` in points; a marker at every so many values."""
    look = line.look
    axes.plot(
        line.x, line.y, **_styled(look), lw=width, ms=3 + width, markevery=every, clip_on=False,
    )  # fmt: skip
    if line.band and line.labels:
        spread = [[y - low for y, low in zip(line.y, line.band[0], strict=True)],
                  [high - y for y, high in zip(line.y, line.band[1], strict=True)]]  # fmt: skip
        axes.errorbar(line.x, line.y, yerr=spread, fmt="none", ecolor=look.colour, capsize=3, lw=1, label="_spread")
    elif line.band:
        axes.fill_between(line.x, *line.band, color=look.colour, alpha=0.2, linewidth=0)
    for x, y, label in zip(line.x, line.y, line.labels, strict=False):
        axes.annotate(label, (x, y), (5, 3), textcoords="offset points", fontsize=8, color=look.colour)


def _styled(look: Look) -> dict[str, Any]:
    return {
        "color": look.colour, "linestyle": (0, look.dash) if look.dash else "-", "marker": MARKERS[look.marker]
    }  # fmt: skip


def _lines(axes: Any, panel: Panel) -> None:
    for line, width in zip(panel.lines, panel.widths, strict=True):
        _line(axes, line, 0.75 * width, every=1 if panel.markers else max(1, len(line.x) // SOME_MARKERS))
    if panel.log2_ticks:
        axes.set_xscale("log", base=2)
        axes.set_xticks(panel.log2_ticks, [str(tick) for tick in panel.log2_ticks])
        axes.minorticks_off()
    if panel.y_log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    if panel.y_at_least:
        axes.set_ylim(*panel.y_range)
    if panel.x_from_zero:
        axes.set_xlim(0, 1.25 * max(x for line in panel.lines for x in line.x))  # room for the last label
        axes.margins(y=0.12)


def _bars(axes: Any, panel: Panel, names: Sequence[str], *, labelled: bool) -> None:
    places = [names.index(bar.name) for bar in panel.bars]
    ends = [bar.spread[1] if bar.spread else bar.value for bar in panel.bars]
    axes.barh(places, [bar.value for bar in panel.bars], color=[bar.look.colour for bar in panel.bars], height=0.7)
    for place, end, bar in zip(places, ends, panel.bars, strict=True):
        if bar.spread:
            below, above = bar.value - bar.spread[0], bar.spread[1] - bar.value
            axes.errorbar(bar.value, place, xerr=[[below], [above]], color="black", capsize=3, lw=1, label="_spread")
        axes.annotate(f"{bar.value:.4f}", (end, place), (4, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, labelleft=labelled)
    axes.set_ylim(len(names) - 0.4, -0.6)  # the first on top
    axes.set_xlim(0, 1.3 * max(ends))  # room for the numbers
    axes.grid(alpha=0.3, axis="x")
    axes.set_axisbelow(True)
