"""Scores of each variant beside TopK's, as a table and as pages for a person to read."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.comparison.table import markdown
from orchestrator.grid.cells import Cell
from orchestrator.scores import table
from orchestrator.scores.latent_page import comparison_page
from orchestrator.scores.pages import page_of
from orchestrator.scores.statistics import Interval, Population, compare

Results = Mapping[str, Mapping[str, Any]]


def differences_table(cells: Sequence[Cell], files: Mapping[str, Path]) -> str:
    """A Markdown table of scores of interpretability, each autoencoder minus TopK at the same place, k and size.

    `files` has the latents of trials by name; those of several seeds are put together. Empty without TopK.
    """
    lines = []
    for point in sorted({_point(cell) for cell in cells}):
        here = [cell for cell in cells if _point(cell) == point]
        for variant in sorted({cell.variant for cell in here if not cell.coder.recipe.transcode} - {"topk"}):
            ours, theirs = (_files(here, name, files) for name in (variant, "topk"))
            for scorer in sorted({scorer for path in ours for scorer in table.scorers(path)}):
                found = compare(_together(ours, scorer), _together(theirs, scorer))
                if not math.isnan(found.everything.value):
                    rate = f", lr {point[4]}" if here[0].lr_in_name else ""
                    row = [place(*point[:2], cells), *point[2:4], f"{variant} - topk{rate}", scorer]
                    lines.append([*row, _shown(found.everything), _shown(found.matched), found.pairs])
    if not lines:
        return ""
    head = ["hookpoint", "expansion", "k", "difference", "scorer", "all latents", "matched by firing rate", "pairs"]
    return markdown([head, *lines])


def write_comparisons(
    directory: Path, cells: Sequence[Cell], files: Mapping[str, Path], results: Results, scores: Results
) -> None:
    """A page of latents for each autoencoder that is not TopK, beside TopK's, of the first seed."""
    by_key = {(_point(cell), cell.seed, cell.variant): cell for cell in cells if cell.name in files}
    first = min((cell.seed for cell in cells), default=0)
    pairs = [
        (cell, by_key[point, seed, "topk"])
        for (point, seed, variant), cell in by_key.items()
        if variant != "topk" and seed == first and (point, seed, "topk") in by_key and not cell.coder.recipe.transcode
    ]
    for cell, other in pairs:
        directory.mkdir(parents=True, exist_ok=True)
        ours, theirs = (
            page_of(files[each.name], each, scores[each.name]["metrics"], results[each.name]) for each in (cell, other)
        )
        html = comparison_page(ours, theirs)
        (directory / f"{cell.name}.html").write_text(html, encoding="utf-8")


def _point(cell: Cell) -> tuple[str, str, int, int, float]:
    return cell.model, cell.hookpoint, cell.expansion_factor, cell.k, cell.lr


def place(model: str, hookpoint: str, cells: Sequence[Cell]) -> str:
    """Where a coder belongs, with the model's name where there are several."""
    models = {each.model for each in cells}
    return f"{model} {hookpoint}" if len(models) > 1 else hookpoint


def _files(cells: Sequence[Cell], variant: str, files: Mapping[str, Path]) -> list[Path]:
    return [files[cell.name] for cell in cells if cell.variant == variant and cell.name in files]


def _together(paths: Sequence[Path], scorer: str) -> Population:
    return Population.joined([table.population(path, scorer) for path in paths])


def _shown(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "-"
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
