"""The colour of every variant, the same in every figure."""

from collections.abc import Iterable

from models.variants import VARIANTS
from orchestrator.comparison.points import BASELINES

COLOURS = {"topk": "#1f77b4", "mp": "#d62728"}
"""Matplotlib's tab:blue and tab:red, by names that plotly has too."""
PALETTE = (
    "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#17becf", "#e377c2", "#bcbd22", "#7f7f7f",
    "#000000", "#98df8a", "#ffbb78", "#c5b0d5", "#005f56", "#5c3d00",
)  # fmt: skip
"""For the variants after those, neither blue nor red."""


def colours_of(variants: Iterable[str]) -> dict[str, str]:
    """A colour for each variant, baselines first. Variants of this version have the same colour in every sweep."""
    found = sorted(dict.fromkeys(variants), key=lambda name: name not in BASELINES)
    others = [*(name for name in VARIANTS if name not in COLOURS), *sorted({*found} - {*VARIANTS, *COLOURS})]
    all_colours = COLOURS | {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(others)}
    return {name: all_colours[name] for name in found}
