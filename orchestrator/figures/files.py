"""The figures of a sweep as files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from orchestrator.figures.data import figures_of
from orchestrator.figures.html import write_html
from orchestrator.figures.png import write_png
from orchestrator.tracking.records import TrialRecord

PAGE = "figures.html"
"""The page with everything, beside the pictures."""
NO_TAGS: Mapping[str, str] = MappingProxyType({})


def write_figures(
    name: str, records: Sequence[TrialRecord], directory: Path, tags: Mapping[str, str] = NO_TAGS
) -> list[Path]:
    """Write a PNG for each figure that has data, and one page with everything; returns the files.

    `tags` are of the sweep's run: the page says of them what the sweep ran on.
    """
    figures = figures_of(records)
    if not figures:
        return []
    directory.mkdir(parents=True, exist_ok=True)
    for figure in figures:
        write_png(figure, directory / f"{figure.name}.png")
    write_html(name, records, figures, tags, directory / PAGE)
    return [directory / PAGE, *(directory / f"{figure.name}.png" for figure in figures)]
