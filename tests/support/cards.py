"""What tests of models/formats share."""

import re

import torch

from models import SparseCoder, SparseCoderConfig
from orchestrator.grid.cells import Cell
from orchestrator.grid.config import SweepConfig
from orchestrator.trials.card import run_of

RESULT = {
    "step": 95, "val/fvu": 0.367712, "val/fvu_with_massive": 0.0421, "val/tokens": 32640, "val/massive_tokens": 128,
    "l0": 15.98, "dead_pct": 1.5, "excluded_first_tokens": 768,
}  # fmt: skip


CELL = Cell("packaged", "layers.10", k=3, expansion_factor=4, variant="topk", seed=7, d_in=10)


RUN = run_of(CELL, SweepConfig(), RESULT)


def make_coder(variant: str = "topk", **config: object) -> SparseCoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SparseCoder(10, SparseCoderConfig(variant=variant, num_latents=42, k=3, **config))


def rows(card: str) -> dict[str, str]:
    lines = [line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("| ") and line != "| | |"]
    return {cells[0].partition(":")[0]: cells[1] for cells in lines}


def blocks(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)
