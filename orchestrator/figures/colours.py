"""How a variant looks, the same in every figure of every sweep: a colour, and a dash and a marker beside it."""

from collections.abc import Iterable
from dataclasses import dataclass

from models.variants import VARIANTS
from orchestrator.comparison.points import BASELINES, base_of

COLOURS = {"topk": "#1f77b4", "mp": "#d62728"}
"""Matplotlib's tab:blue and tab:red, by names that plotly has too."""
PALETTE = (
    "#c26a00", "#2a8a2a", "#9467bd", "#8c564b", "#0e8a9c", "#d0479f", "#8a8a12", "#7f7f7f",
    "#5a5fd6", "#00916e", "#a8743a", "#b04fd0", "#4f7d3a", "#c2506a", "#6b8e23", "#a0527a", "#5f8f8a",
)  # fmt: skip
"""For the variants after those, neither blue nor red. All have a contrast of 3 on white and on the page's dark."""

DASHES = ((), (3.0, 1.5), (1.0, 1.0), (4.0, 1.5, 1.0, 1.5), (7.0, 1.5))
MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "cross": "P", "x": "X", "star": "*"}
"""Plotly's names, and matplotlib's. Five dashes and seven markers come back together only after 35 variants."""


@dataclass(frozen=True)
class Look:
    """What tells a variant from others."""

    colour: str
    """As #rrggbb."""
    dash: tuple[float, ...]
    """What is drawn and left out by turns, in widths of the line; empty where nothing is left out."""
    marker: str
    """Plotly's name."""


def looks_of(variants: Iterable[str]) -> dict[str, Look]:
    """A look for each variant, baselines first. Variants of this version have the same one in every sweep.

    One that is there with several learning rates, or in several sweeps, has one colour; dash and marker tell which.
    """
    found = sorted(dict.fromkeys(variants), key=lambda name: base_of(name) not in BASELINES)
    bases = dict.fromkeys(map(base_of, found))
    others = [*(name for name in VARIANTS if name not in COLOURS), *sorted({*bases} - {*VARIANTS, *COLOURS})]
    colours = COLOURS | {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(others)}
    places = {name: index for index, name in enumerate(colours)}
    markers = tuple(MARKERS)
    looks = {}
    for base in bases:
        for index, name in enumerate((each for each in found if base_of(each) == base), places[base]):
            looks[name] = Look(colours[base], DASHES[index % len(DASHES)], markers[index % len(markers)])
    return {name: looks[name] for name in found}
