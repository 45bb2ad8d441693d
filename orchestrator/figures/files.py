"""The figures of a sweep as files."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.figures.data import figures_of
from orchestrator.figures.html import write_html
from orchestrator.figures.png import write_png
from orchestrator.tracking.records import TrialRecord

PAGE = "figures.html"
"""The interactive page beside the pictures."""


def write_figures(name: str, records: Sequence[TrialRecord], directory: Path) -> list[Path]:
    """Write a PNG for each figure that has data, and all of them as one HTML page; returns the files."""
    figures = figures_of(records)
    if not figures:
        return []
    directory.mkdir(parents=True, exist_ok=True)
    for figure in figures:
        write_png(figure, directory / f"{figure.name}.png")
    write_html(name, figures, directory / PAGE)
    return [directory / PAGE, *(directory / f"{figure.name}.png" for figure in figures)]
