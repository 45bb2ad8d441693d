"""Scores as tables for a person to read: every trial by itself, and each variant beside TopK."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.grid.cells import Cell
from orchestrator.scores import table
from orchestrator.scores.latent_page import comparison_page
from orchestrator.scores.pages import page_of
from orchestrator.scores.statistics import Interval, Population, compare

Results = Mapping[str, Mapping[str, Any]]

RECOVERED = "model_performance_preservation/ce_loss_score"


def scores_table(cells: Sequence[Cell], results: Results, scores: Results) -> str:
    """A Markdown table with a row for every trial that is scored; empty where none is."""
    scored = [cell for cell in cells if cell.name in scores]
    scorers = sorted({scorer for cell in scored for scorer in scorers_of(scores[cell.name]["metrics"])})
    if not scored:
        return ""
    head = ["hookpoint", "expansion", "k", "variant", "seed", "FVU", "CE recovered", "dead %"]
    lines = [_row([*head, *(f"{scorer} (95 %), n" for scorer in scorers)]), "|" + "---|" * (len(head) + len(scorers))]
    for cell in sorted(scored, key=lambda cell: (cell.model, cell.hookpoint, cell.expansion_factor, cell.k)):
        metrics, result = scores[cell.name]["metrics"], results[cell.name]
        lines.append(
            _row([
                place(cell.model, cell.hookpoint, cells),
                cell.expansion_factor, cell.k, cell.variant, cell.seed, f"{result['val/fvu']:.4f}",
                f"{metrics.get(RECOVERED, math.nan):.3f}", f"{result['dead_pct']:.1f}",
                *(_mean(metrics, scorer) for scorer in scorers),
            ])
        )  # fmt: skip
    return "\n".join(lines)


def scorers_of(metrics: Mapping[str, float]) -> list[str]:
    """Names of the scorers that metrics are of."""
    return sorted({key.split("/")[1] for key in metrics if key.startswith("autointerp/") and key.endswith("/mean")})


def _mean(metrics: Mapping[str, float], scorer: str) -> str:
    prefix = f"autointerp/{scorer}/"
    if not metrics.get(f"{prefix}n"):
        return "-"
    low, high = (metrics[f"{prefix}mean_{end}"] for end in ("low", "high"))
    return f"{metrics[f'{prefix}mean']:.3f} [{low:.3f}, {high:.3f}], {metrics[f'{prefix}n']:.0f}"


def differences_table(cells: Sequence[Cell], files: Mapping[str, Path]) -> str:
    """A Markdown table of scores of interpretability, each variant minus TopK at the same place, k and size.

    `files` has the latents of trials by name; those of several seeds are put together. Empty without TopK.
    """
    lines = []
    for point in sorted({_point(cell) for cell in cells}):
        here = [cell for cell in cells if _point(cell) == point]
        for variant in sorted({cell.variant for cell in here} - {"topk"}):
            ours, theirs = (_files(here, name, files) for name in (variant, "topk"))
            for scorer in sorted({scorer for path in ours for scorer in table.scorers(path)}):
                found = compare(_together(ours, scorer), _together(theirs, scorer))
                if not math.isnan(found.everything.value):
                    row = [place(*point[:2], cells), *point[2:], f"{variant} - topk", scorer]
                    lines.append(_row([*row, _shown(found.everything), _shown(found.matched), found.pairs]))
    if not lines:
        return ""
    head = ["hookpoint", "expansion", "k", "difference", "scorer", "all latents", "matched by firing rate", "pairs"]
    return "\n".join([_row(head), "|" + "---|" * len(head), *lines])


def write_comparisons(
    directory: Path, cells: Sequence[Cell], files: Mapping[str, Path], results: Results, scores: Results
) -> None:
    """A page of latents for each coder that is not TopK, beside TopK's, of the first seed."""
    by_key = {(_point(cell), cell.seed, cell.variant): cell for cell in cells if cell.name in files}
    first = min((cell.seed for cell in cells), default=0)
    pairs = [
        (cell, by_key[point, seed, "topk"])
        for (point, seed, variant), cell in by_key.items()
        if variant != "topk" and seed == first and (point, seed, "topk") in by_key
    ]
    for cell, other in pairs:
        directory.mkdir(parents=True, exist_ok=True)
        ours, theirs = (
            page_of(files[each.name], each, scores[each.name]["metrics"], results[each.name]) for each in (cell, other)
        )
        html = comparison_page(ours, theirs)
        (directory / f"{cell.name}.html").write_text(html, encoding="utf-8")


def _point(cell: Cell) -> tuple[str, str, int, int]:
    return cell.model, cell.hookpoint, cell.expansion_factor, cell.k


def place(model: str, hookpoint: str, cells: Sequence[Cell]) -> str:
    """Where a coder belongs, with the model's name where there are several."""
    models = {each.model for each in cells}
    return (f"{model} {hookpoint}" if len(models) > 1 else hookpoint).replace("|", "\\|")  # ends a table's cell


def _files(cells: Sequence[Cell], variant: str, files: Mapping[str, Path]) -> list[Path]:
    return [files[cell.name] for cell in cells if cell.variant == variant and cell.name in files]


def _together(paths: Sequence[Path], scorer: str) -> Population:
    return Population.joined([table.population(path, scorer) for path in paths])


def _shown(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "-"
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def _row(entries: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, entries))} |"
