"""A scored trial as the page of its latents shows it, from the table on disk."""

from collections.abc import Mapping
from pathlib import Path

from orchestrator.grid.cells import Cell
from orchestrator.scores import table
from orchestrator.scores.latents import CoderPage
from orchestrator.scores.scorers import CHANCE

FILE = "latents.html"

FACTS = {
    "val/fvu": "FVU",
    "model_performance_preservation/ce_loss_score": "CE recovered",
    "l0": "active latents",
    "dead_pct": "dead %",
}
"""Figures of a trial, and what the page calls them."""


def facts(scores: Mapping[str, float], result: Mapping[str, float]) -> dict[str, str]:
    """Those of `FACTS` that there are, as text."""
    found = {**result, **scores}
    return {name: f"{found[key]:.4g}" for key, name in FACTS.items() if key in found}


def page_of(directory: Path, cell: Cell, more: Mapping[str, str]) -> CoderPage:
    """The page of the trial whose scores are in `directory`."""
    where = {name: str(value) for name, value in cell.params.items()}
    path = directory / table.FILE
    chance = {scorer: CHANCE[scorer] for scorer in table.scorers(path)}
    return CoderPage(cell.name, where | dict(more), chance, table.summaries(path))
