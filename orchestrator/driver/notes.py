"""What MLflow shows as the description of a run: of a sweep its result, of a trial its cell in words."""

from collections.abc import Mapping

from orchestrator.driver.report import COMPARISONS
from orchestrator.figures.files import PAGE
from orchestrator.grid.cells import Cell
from orchestrator.tracking.records import RESULTS
from orchestrator.trials.results import SCORES_DIRECTORY

LONGEST = 6000
"""Characters of a table; MLflow takes 8,000 in all."""


def trial_note(cell: Cell) -> str:
    """One sentence."""
    latents = cell.coder.latents(cell.d_in)
    return (
        f"Variant {cell.variant} with k = {cell.k} of {latents:,} latents (expansion {cell.expansion_factor}) at "
        f"{cell.hookpoint} of {cell.model}, seed {cell.seed}."
    )


def sweep_note(table: str, command: str, tags: Mapping[str, str]) -> str:
    """Markdown: the table of results, how they came about and where the rest is."""
    shown = table if len(table) <= LONGEST else table[:LONGEST].rpartition("\n")[0] + "\n\nMore in comparison.md."
    cores = f"{tags['cpu.count']} cores of {tags['cpu.model']}"
    machine = ", ".join(filter(None, (tags.get("host"), cores, tags.get("gpu"))))
    where = (
        f"Among the artifacts of this run: `figures/{PAGE}` with everything, `comparison.md`, `{RESULTS}`, and pages "
        f"that show latents of two coders beside each other in `{COMPARISONS}`; of each trial's run `checkpoint` and "
        f"`{SCORES_DIRECTORY}/latents.html`."
    )
    return f"{shown}\n\n    {command}\n\nOn {machine}. {where}"
