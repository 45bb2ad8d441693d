"""The comparison at the end of a sweep: who wins where, as a table."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from orchestrator.grid.cells import Cell


def by_point(
    cells: Sequence[Cell], results: Mapping[str, Mapping[str, Any]]
) -> dict[tuple[str, str, int], dict[Any, float]]:
    """Held-out FVU, averaged over seeds, by (model, hookpoint, expansion factor) and then by (k, variant)."""
    values: dict[tuple[str, str, int], dict[Any, list[float]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        fvu = results.get(cell.name, {}).get("val/fvu", math.nan)
        values[cell.model, cell.hookpoint, cell.expansion_factor][cell.k, cell.variant].append(fvu)
    return {point: {key: mean(fvus) for key, fvus in found.items()} for point, found in sorted(values.items())}


def comparison_table(cells: Sequence[Cell], results: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table of held-out FVU, one row per hookpoint, expansion factor and k, with the lowest named."""
    variants = sorted({cell.variant for cell in cells}, key=lambda variant: (variant != "topk", variant))
    seeds = len({cell.seed for cell in cells})
    lines = [
        "| hookpoint | expansion | k | " + " | ".join(f"{variant} FVU" for variant in variants) + " | lowest |",
        "|---|---|---|" + "---|" * (len(variants) + 1),
    ]
    models = {cell.model for cell in cells}
    for (model, hookpoint, expansion), found in by_point(cells, results).items():
        place = f"{model} {hookpoint}" if len(models) > 1 else hookpoint
        for k in sorted({k for k, _ in found}):
            row = {variant: found.get((k, variant), math.nan) for variant in variants}
            shown = " | ".join("-" if math.isnan(value) else f"{value:.4f}" for value in row.values())
            lines.append(f"| {place} | {expansion} | {k} | {shown} | {_lowest(row)} |")
    return "\n".join(lines) + (f"\n\nMean of {seeds} seeds." if seeds > 1 else "")


def _lowest(row: Mapping[str, float]) -> str:
    ranked = sorted((value, variant) for variant, value in row.items() if not math.isnan(value))
    if len(ranked) < 2:
        return "-"
    return f"{ranked[0][1]} by {ranked[1][0] - ranked[0][0]:.4f}"
