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


def page_of(path: Path, cell: Cell, scores: Mapping[str, float], result: Mapping[str, float]) -> CoderPage:
    """The page of the trial whose latents are in the table at `path`, with its metrics."""
    found = {**result, **scores}
    where = {name: str(value) for name, value in cell.params.items()}
    facts = {name: f"{found[key]:.4g}" for key, name in FACTS.items() if key in found}
    chance = {scorer: CHANCE[scorer] for scorer in table.scorers(path)}
    return CoderPage(cell.name, where | facts, chance, table.summaries(path))
