"""How a variant looks in a legend, as SVG."""

from orchestrator.figures.colours import Look
from orchestrator.figures.plots import dash_of

MARKS = {
    "circle": "M18 3a4 4 0 1 0 .01 0z",
    "square": "M14 3h8v8h-8z",
    "diamond": "M18 2l5 5l-5 5l-5-5z",
    "triangle-up": "M18 2l5 9h-10z",
    "cross": "M16.5 2h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5z",
    "x": "M14.5 2l3.5 3.5l3.5-3.5l1.5 1.5l-3.5 3.5l3.5 3.5l-1.5 1.5l-3.5-3.5l-3.5 3.5l-1.5-1.5l3.5-3.5l-3.5-3.5z",
    "star": "M18 1.5l1.5 4h4.2l-3.4 2.6l1.3 4.2l-3.6-2.5l-3.6 2.5l1.3-4.2l-3.4-2.6h4.2z",
}
"""Paths of the markers."""


def swatch(look: Look) -> str:
    """A piece of the line with its marker."""
    dash = "" if not look.dash else f' stroke-dasharray="{dash_of(look, 2)}"'
    return (
        f'<svg width="36" height="14" viewBox="0 0 36 14" aria-hidden="true"><path d="M0 7h36" stroke="{look.colour}" '
        f'stroke-width="2"{dash}/><path d="{MARKS[look.marker]}" fill="{look.colour}"/></svg>'
    )
