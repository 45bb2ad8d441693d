"""Figures as one interactive page that needs nothing else, by plotly."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from plotly.graph_objects import Bar, Scatter
from plotly.io import to_html
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from orchestrator.figures.data import Figure, Line, Panel

PANEL_PIXELS = 260
BAR_PIXELS = 30
LOG_TICKS = [digit * 10.0**power for power in range(-4, 4) for digit in (1, 2, 3, 5, 7)]
BELOW_PIXELS = 65
"""For the numbers and the label of an x axis."""
MODEBAR_PIXELS = 35
LEGEND_PIXELS = 40
LINE_PIXELS = 17
"""Of a title above one."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; max-width: 1200px; margin: 1em auto; padding: 0 1em; }}
h2 {{ margin: 1.5em 0 0; font-size: 1.2em; }}
p {{ margin: 0.3em 0; color: #555; }}
</style>
<script>{script}</script>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def write_html(title: str, figures: Sequence[Figure], path: Path) -> None:
    """Write all figures into the file `path`, which holds one copy of plotly.js."""
    parts = []
    for figure in figures:
        drawn = to_html(
            _drawn(figure), full_html=False, include_plotlyjs=False, div_id=figure.name,
            config={"displaylogo": False, "showSendToCloud": False, "responsive": True},
        )  # fmt: skip
        parts.append(f"<h2>{escape(figure.title)}</h2>\n<p>{escape(figure.about)}</p>\n{drawn}")
    path.write_text(PAGE.format(title=escape(title), script=get_plotlyjs(), body="\n".join(parts)), encoding="utf-8")


def _drawn(figure: Figure) -> Any:
    bars = bool(figure.panels[0].bars)
    inner = BAR_PIXELS * len(figure.variants) if bars else PANEL_PIXELS
    titles = LINE_PIXELS * figure.title_lines
    gap = titles + BELOW_PIXELS
    rows_pixels = inner * figure.rows + gap * (figure.rows - 1)
    margin = {"t": titles + MODEBAR_PIXELS, "b": BELOW_PIXELS + LEGEND_PIXELS * (not bars), "l": 60, "r": 20}
    drawn = make_subplots(
        rows=figure.rows, cols=figure.columns, shared_yaxes="all" if bars else False,
        subplot_titles=[escape(panel.title).replace("\n", "<br>") for panel in figure.panels],
        vertical_spacing=gap / rows_pixels, horizontal_spacing=0.03 if bars else 0.08,
    )  # fmt: skip
    named: set[str] = set()
    for index, panel in enumerate(figure.panels):
        place = {"row": index // figure.columns + 1, "col": index % figure.columns + 1}
        for trace in _traces(panel, figure.variants):
            trace.showlegend = trace.showlegend is None and trace.name not in named
            named.add(trace.name)
            drawn.add_trace(trace, **place)
        _label_axes(drawn, panel, figure.variants, place)
    drawn.update_annotations(font_size=13)
    drawn.update_layout(
        template="plotly_white", height=rows_pixels + margin["t"] + margin["b"], margin=margin, showlegend=not bars,
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"},
    )  # fmt: skip
    return drawn


def _label_axes(drawn: Any, panel: Panel, variants: Sequence[str], place: dict[str, int]) -> None:
    drawn.update_xaxes(title_text=panel.xlabel, **place)
    if panel.bars:
        order = {"categoryorder": "array", "categoryarray": variants, "autorange": "reversed"}
        drawn.update_yaxes(**order, ticklabelstandoff=6, **place)
    else:
        drawn.update_yaxes(title_text=panel.ylabel, **place)
    if panel.y_at_least:
        drawn.update_yaxes(range=panel.y_range, **place)
    if panel.y_log:
        drawn.update_yaxes(type="log", tickvals=LOG_TICKS, ticktext=[f"{tick:g}" for tick in LOG_TICKS], **place)
    if panel.log2_ticks:
        drawn.update_xaxes(type="log", tickvals=panel.log2_ticks, ticktext=[*map(str, panel.log2_ticks)], **place)
    if panel.bars or panel.x_from_zero:
        last = max(x for trace in drawn.select_traces(**place) for x in trace.x)
        drawn.update_xaxes(range=[0, 1.2 * last], **place)  # room for what is written beside bars and points


def _traces(panel: Panel, variants: Sequence[str]) -> list[Any]:
    if panel.bars:
        return _bars(panel)
    return [trace for line in panel.lines for trace in _line(line, panel, variants.index(line.name))]


def _line(line: Line, panel: Panel, rank: int) -> list[Any]:
    """The band's edges, where there is one, and the line."""
    shared = {"x": line.x, "legendgroup": line.name, "line": {"color": line.colour}}
    edges = [
        Scatter(
            **shared | {"line": {"width": 0}}, y=edge, mode="lines", fill=fill, fillcolor=f"{line.colour}33",
            hoverinfo="skip", showlegend=False,
        )
        for edge, fill in zip(line.band or (), (None, "tonexty"), strict=False)
    ]  # fmt: skip
    modes = ["lines", *(["markers"] if panel.markers else []), *(["text"] if line.labels else [])]
    spread = [f"<br>{low:.4f} to {high:.4f}" for low, high in zip(*line.band, strict=True)] if line.band else None
    hover = "%{x:.4~g}: %{y:.4f}" + ("%{customdata}" if spread else "")
    return [
        *edges,
        Scatter(
            **shared, y=line.y, name=line.name, mode="+".join(modes), text=line.labels or None, customdata=spread,
            textposition="top right", hovertemplate=hover, legendrank=rank, cliponaxis=not line.labels,
        ),
    ]  # fmt: skip


def _bars(panel: Panel) -> list[Any]:
    """The bars, and the numbers behind their error bars."""
    spreads = [bar.spread or (bar.value, bar.value) for bar in panel.bars]
    values, names = [bar.value for bar in panel.bars], [bar.name for bar in panel.bars]
    error = {
        "type": "data", "symmetric": False, "visible": any(bar.spread for bar in panel.bars),
        "array": [high - value for value, (_, high) in zip(values, spreads, strict=True)],
        "arrayminus": [value - low for value, (low, _) in zip(values, spreads, strict=True)],
    }  # fmt: skip
    hover = [f"{low:.4f} to {high:.4f}" for low, high in spreads]
    return [
        Bar(
            x=values, y=names, orientation="h", marker_color=[bar.colour for bar in panel.bars], error_x=error,
            customdata=hover, hovertemplate="%{x:.4f} (%{customdata})<extra>%{y}</extra>",
        ),
        Scatter(
            x=[high for _, high in spreads], y=names, text=[f" {value:.4f}" for value in values], mode="text",
            textposition="middle right", hoverinfo="skip", cliponaxis=False,
        ),
    ]  # fmt: skip
