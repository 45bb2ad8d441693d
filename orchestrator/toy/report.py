"""The table at the end of a sweep over synthetic trees."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import mean, stdev
from typing import Any

import torch

from orchestrator.grid.cells import Cell
from orchestrator.toy.config import ToyConfig
from orchestrator.toy.tree import Tree, recovery

COLUMNS = {
    "parents": "recovery/parents", "leaves": "recovery/leaves", "children": "recovery/children",
    "all": "recovery/all", "held-out FVU": "val/fvu", "L0": "l0",
}  # fmt: skip
RANDOM_DRAWS = 20


def recovery_table(cfg: ToyConfig, grid: Sequence[Cell], results: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table, one row per setting, k, expansion factor and variant: mean ± standard deviation over seeds.

    The last row of a setting is what as many random directions would get.
    """
    lines = [
        "| setting | expansion | k | variant | " + " | ".join(COLUMNS) + " |",
        "|---" * (4 + len(COLUMNS)) + "|",
    ]
    for (setting, k, expansion, lr), group in groupby(grid, key=lambda c: (c.hookpoint, c.k, c.expansion_factor, c.lr)):
        point = list(group)
        rate = f", lr {lr}" if len(cfg.lr) > 1 else ""
        for variant in cfg.variant:
            found = [results[cell.name] for cell in point if cell.variant == variant]
            values = [_spread([result[key] for result in found if key in result], key) for key in COLUMNS.values()]
            lines.append(f"| {setting} | {expansion} | {k} | {variant}{rate} | " + " | ".join(values) + " |")
        chance = random_recovery(cfg, setting, point[0].coder.latents(point[0].d_in))
        values = [f"{chance[key]:.3f}" if key in chance else "-" for key in COLUMNS.values()]
        lines.append(f"| {setting} | {expansion} | - | random rows | " + " | ".join(values) + " |")
    seeds = len(cfg.seed)
    return "\n".join([*lines, "", f"Recovery by kind of atom; {seeds} seed{'' if seeds == 1 else 's'}."])


def random_recovery(cfg: ToyConfig, setting: str, latents: int) -> dict[str, float]:
    """Recovery by random directions, averaged over draws."""
    tree_cfg, draws = cfg.settings()[setting], []
    for seed in range(RANDOM_DRAWS):
        rows_MD = torch.randn(latents, tree_cfg.d_in, generator=torch.Generator().manual_seed(seed + RANDOM_DRAWS))
        draws.append(recovery(tree_cfg, Tree(tree_cfg, seed).atoms_ND, rows_MD))
    return {key: mean(draw[key] for draw in draws) for key in draws[0]}


def _spread(values: Sequence[float], key: str) -> str:
    if not values:
        return "-"
    digits = {"val/fvu": 4, "l0": 2}.get(key, 3)
    return f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")
