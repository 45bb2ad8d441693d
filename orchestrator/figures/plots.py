"""A panel as plotly draws it: traces and layout without the colours of the page, which the page itself chooses."""

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from plotly.graph_objects import Bar, Figure, Scatter

from orchestrator.figures.colours import Look
from orchestrator.figures.shapes import Line, Panel

PANEL_PIXELS = 300
BAR_PIXELS = 36
BELOW_PIXELS = 50
"""For the numbers and the label of an x axis."""
ABOVE_PIXELS = 12
NAME_LETTERS = 21
"""Of a line of a name beside a bar: the bars need the rest of a telephone's width."""
SOME_MARKERS = 8
"""On a curve of very many points."""
LOG_TICKS = tuple(digit * 10.0**power for power in range(-4, 4) for digit in (1, 2, 3, 5, 7))
MOST_TICKS = 6
"""Of a logarithmic axis."""


def plot_of(panel: Panel, variants: Sequence[str]) -> dict[str, Any]:
    """`data` and `layout` as plotly.js takes them."""
    traces = _bars(panel) if panel.bars else _lines(panel)
    layout = _layout(panel, variants, last=max(x for trace in traces for x in trace.x))
    plot: dict[str, Any] = Figure(traces, {"template": {}, **layout}).to_plotly_json()
    return plot


def dash_of(look: Look, width: float) -> str:
    """The dash of a line as wide as that, as SVG and plotly write it."""
    return ",".join(f"{part * width:g}px" for part in look.dash) or "solid"


def _layout(panel: Panel, variants: Sequence[str], last: float) -> dict[str, Any]:
    x: dict[str, Any] = {"title": {"text": panel.xlabel, "standoff": 8}}
    y: dict[str, Any] = {"title": {"text": panel.ylabel, "standoff": 8}, "automargin": True, "rangemode": "nonnegative"}
    height = PANEL_PIXELS
    if panel.bars:
        names = [name for name in variants if any(bar.name == name for bar in panel.bars)]
        height = BAR_PIXELS * len(names) + ABOVE_PIXELS + BELOW_PIXELS
        labels = ["<br>".join(wrap(_text(name), NAME_LETTERS)) for name in names]
        y = {
            "automargin": True, "autorange": "reversed", "ticklabelstandoff": 6, "showgrid": False, "type": "category",
            "categoryorder": "array", "categoryarray": names, "tickvals": names, "ticktext": labels,
        }  # fmt: skip
    if panel.y_at_least:
        y["range"] = panel.y_range
    if panel.y_log:
        ticks = _log_ticks(panel)
        y |= {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    if panel.log2_ticks:
        x |= {"type": "log", "tickvals": panel.log2_ticks, "ticktext": [*map(str, panel.log2_ticks)]}
    if panel.bars or panel.x_from_zero:
        x["range"] = [0, 1.25 * last]  # room for what is written beside bars and points
    margin = {"t": ABOVE_PIXELS, "b": BELOW_PIXELS, "l": 10 if panel.bars else 55, "r": 15}
    return {"xaxis": x, "yaxis": y, "height": height, "margin": margin, "showlegend": False, "hovermode": "closest"}


def _log_ticks(panel: Panel) -> list[float]:
    """Round values that the lines span, few enough to be read."""
    values = [value for line in panel.lines for value in line.y if value > 0]
    spanned = [tick for tick in LOG_TICKS if min(values, default=1) <= tick <= max(values, default=1)]
    powers = [tick for tick in spanned if f"{tick:e}".startswith("1.0")]
    return spanned if len(spanned) <= MOST_TICKS or not powers else powers


def _lines(panel: Panel) -> list[Scatter]:
    """The bands first: they lie below all lines."""
    bands = [edge for line in panel.lines if not line.labels for edge in _band(line)]
    return [*bands, *(_line(line, width, panel) for line, width in zip(panel.lines, panel.widths, strict=True))]


def _band(line: Line) -> list[Scatter]:
    """Its two edges."""
    return [
        Scatter(
            x=line.x, y=edge, meta=line.name, mode="lines", line={"width": 0}, fill=fill, hoverinfo="skip",
            fillcolor=f"{line.look.colour}33",
        )
        for edge, fill in zip(line.band or (), (None, "tonexty"), strict=False)
    ]  # fmt: skip


def _line(line: Line, width: float, panel: Panel) -> Scatter:
    spread = [f"<br>{low:.4f} to {high:.4f}" for low, high in zip(*line.band, strict=True)] if line.band else None
    marker = {"symbol": line.look.marker, "size": width + 5, "color": line.look.colour}
    whiskers = {}
    if line.band and line.labels:
        whiskers = {"error_y": _whiskers(line.y, *line.band) | {"color": line.look.colour}}
    return Scatter(
        x=line.x, y=line.y, name=_text(line.name), meta=line.name,
        mode="lines+markers" + ("+text" if line.labels else ""),
        line={"color": line.look.colour, "width": width, "dash": dash_of(line.look, width)},
        marker=marker if panel.markers else marker | {"maxdisplayed": SOME_MARKERS},
        text=line.labels or None, customdata=spread, textposition="top right",
        cliponaxis=not (line.labels or panel.y_at_least),
        hovertemplate="%{x:.4~g}: %{y:.4f}" + ("%{customdata}" if spread else ""), **whiskers,
    )  # fmt: skip


def _bars(panel: Panel) -> list[Bar | Scatter]:
    """The bars, and the numbers behind their error bars."""
    spreads = [bar.spread or (bar.value, bar.value) for bar in panel.bars]
    values, names = [bar.value for bar in panel.bars], [bar.name for bar in panel.bars]
    lows, highs = ([*ends] for ends in zip(*spreads, strict=True))
    hover = [f"{low:.4f} to {high:.4f}" for low, high in spreads]
    return [
        Bar(
            x=values, y=names, orientation="h", marker_color=[bar.look.colour for bar in panel.bars], customdata=hover,
            error_x=_whiskers(values, lows, highs) | {"visible": any(bar.spread for bar in panel.bars)},
            hovertemplate="%{x:.4f} (%{customdata})<extra></extra>",
        ),
        Scatter(
            x=highs, y=names, text=[f" {value:.4f}" for value in values], mode="text", textposition="middle right",
            hoverinfo="skip", cliponaxis=False,
        ),
    ]  # fmt: skip


def _whiskers(values: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> dict[str, Any]:
    return {
        "type": "data", "symmetric": False, "array": [high - value for value, high in zip(values, highs, strict=True)],
        "arrayminus": [value - low for value, low in zip(values, lows, strict=True)],
    }  # fmt: skip


def _text(name: str) -> str:
    """Plotly takes some markup."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
