"""Trials that cannot fit, told before anything is computed for them."""

import os
from collections.abc import Sequence

from orchestrator.errors import UserError
from orchestrator.grid.cells import Cell, costs
from orchestrator.grid.hardware import Hardware


def check_memory(cells: Sequence[Cell], batch_tokens: int, hardware: Hardware) -> None:
    """Raises UserError for a trial that needs more than all memory of a lone machine that trains on its cores."""
    if hardware.cluster or hardware.gpus:
        return
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    here = costs(gpu=False)
    largest = max(cells, key=lambda cell: cell.memory_bytes(batch_tokens, here))
    if (needed := largest.memory_bytes(batch_tokens, here)) > total:
        raise UserError(
            f"expansion_factor {largest.expansion_factor}: trial {largest.name} needs some {needed / 1e9:.0f} GB, and "
            f"this machine has {total / 1e9:.0f}; --plan shows what each trial needs"
        )
