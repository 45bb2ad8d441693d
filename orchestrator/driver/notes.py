"""What MLflow shows as the description of a run: of a sweep its result, of a trial its cell in words."""

from collections.abc import Callable, Mapping

from orchestrator.driver.report import COMPARISONS
from orchestrator.figures.colours import looks_of
from orchestrator.figures.files import PAGE
from orchestrator.grid.cells import Cell
from orchestrator.tracking.records import RESULTS
from orchestrator.tracking.tracker import NOTE
from orchestrator.trials.results import SCORES_DIRECTORY

RUN_COLOUR = "mlflow.runColor"
"""The tag by which MLflow's UI colours a run in lists and charts; 3.17.2 does."""
LONGEST = 6000
"""Characters of a table; MLflow takes 8,000 in all."""


def trial_tags(cell: Cell) -> dict[str, str]:
    """What its run is called after in MLflow, beside its params: a description, and the colour of its variant."""
    return {NOTE: trial_note(cell), RUN_COLOUR: looks_of([cell.variant])[cell.variant].colour}


def trial_note(cell: Cell) -> str:
    """One sentence."""
    latents = cell.coder.latents(cell.d_in)
    return (
        f"Variant {cell.variant} with k = {cell.k} of {latents:,} latents (expansion {cell.expansion_factor}) at "
        f"{cell.hookpoint} of {cell.model}, learning rate {cell.lr}, seed {cell.seed}."
    )


def sweep_note(table: str, command: str, tags: Mapping[str, str], link: Callable[[str], str | None]) -> str:
    """Markdown: the table of results, how they came about, where the rest is; `link` says where a page shows a file."""

    def named(path: str) -> str:
        return f"[{path}]({where})" if (where := link(path)) else f"`{path}`"

    shown = table if len(table) <= LONGEST else table[:LONGEST].rpartition("\n")[0] + "\n\nMore in comparison.md."
    cores = f"{tags['cpu.count']} cores of {tags['cpu.model']}"
    machine = ", ".join(filter(None, (tags.get("host"), cores, tags.get("gpu"))))
    where = (
        f"Among the artifacts of this run: {named(f'figures/{PAGE}')} with everything, {named('comparison.md')}, "
        f"{named(RESULTS)}, and pages that show latents of two coders beside each other in {named(COMPARISONS)}, where "
        f"there are any; of each trial's run `checkpoint` and "
        f"`{SCORES_DIRECTORY}/latents.html`."
    )
    return f"{shown}\n\n    {command}\n\nOn {machine}. {where}"
