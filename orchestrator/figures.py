"""Figures of a sweep, as PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.grid import Cell
from orchestrator.report import by_point

COLOURS = {"topk": "tab:blue", "mp": "tab:red"}


def fvu_against_k(cells: Sequence[Cell], results: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Held-out FVU against k, one panel per hookpoint and expansion factor; TopK blue, MP red."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    points = by_point(cells, results)
    figure, axes = plt.subplots(1, len(points), figsize=(4.2 * len(points), 3.6), squeeze=False, sharey=True)
    for axis, ((model, hookpoint, expansion), found) in zip(axes[0], points.items(), strict=True):
        ks = sorted({k for k, _ in found})
        for variant in sorted({variant for _, variant in found}, key=lambda v: v != "topk"):
            values = [found.get((k, variant), float("nan")) for k in ks]
            axis.plot(ks, values, marker="o", color=COLOURS[variant], label=variant)
        axis.set_xscale("log", base=2)
        axis.set_xticks(ks, [str(k) for k in ks])
        axis.minorticks_off()
        axis.set_xlabel("k (active latents per token)")
        axis.set_title(f"{model.rstrip('/').split('/')[-1]} {hookpoint}, expansion {expansion}", fontsize=10)
        axis.grid(alpha=0.3)
        axis.legend()
    axes[0][0].set_ylabel("held-out FVU")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
