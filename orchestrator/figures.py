"""Figures of a sweep, as PNG."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.grid import Cell
from orchestrator.report import by_point

COLOURS = {"topk": "tab:blue", "mp": "tab:red"}
PANEL_INCHES = (3.6, 3.0)
MAX_COLUMNS = 4


def fvu_against_k(cells: Sequence[Cell], results: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Held-out FVU against k, one panel per model, hookpoint and expansion factor; TopK blue, MP red."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    points = by_point(cells, results)
    rows = math.ceil(len(points) / MAX_COLUMNS)
    columns = math.ceil(len(points) / rows)
    figure, axes = plt.subplots(
        rows, columns, figsize=(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows + 0.4), squeeze=False, sharey=True,
        layout="constrained",
    )  # fmt: skip
    variants = sorted({cell.variant for cell in cells}, key=lambda variant: variant != "topk")
    for axis, ((model, hookpoint, expansion), found) in zip(axes.flat, points.items(), strict=False):
        ks = sorted({k for k, _ in found})
        for variant in variants:
            values = [found.get((k, variant), math.nan) for k in ks]
            axis.plot(ks, values, marker="o", color=COLOURS[variant], label=variant)
        axis.set_xscale("log", base=2)
        axis.set_xticks(ks, [str(k) for k in ks])
        axis.minorticks_off()
        axis.set_title(f"{_shortened(model)}\n{_shortened(hookpoint, 24)}, expansion {expansion}", fontsize=9)
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(points) :]:
        axis.remove()
    figure.supxlabel("k (active latents per token)", fontsize=10)
    figure.supylabel("held-out FVU", fontsize=10)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _shortened(name: str, limit: int = 40) -> str:
    """The last part of a model's id or path, its middle cut out where a panel is too narrow for it."""
    name = name.rstrip("/").rpartition("/")[2]
    return name if len(name) <= limit else f"{name[: limit // 2 - 1]}…{name[-limit // 2 :]}"
