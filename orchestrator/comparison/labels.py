"""What sweeps are called beside each other."""

from collections import Counter
from collections.abc import Sequence

from orchestrator.names import shortened
from orchestrator.tracking.reader import TrackedSweep

LETTERS = 24
"""Names up to this long are shown whole. Sweeps that were not named end with the time, and begin with their script."""
ID_LETTERS = 8
"""Of a run's id, where names do not tell sweeps apart."""


def labels(sweeps: Sequence[TrackedSweep]) -> list[str]:
    """A short name for each: cut in the middle where it is long, with the run's id where two would be alike."""
    names = [shortened(sweep.name, LETTERS) for sweep in sweeps]
    counts = Counter(names)
    return [
        name if counts[name] == 1 else f"{name} {sweep.run_id[:ID_LETTERS]}"
        for name, sweep in zip(names, sweeps, strict=True)
    ]
