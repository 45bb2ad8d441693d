"""The figures that a simulation runs on, each with where it comes from: measured here, or assumed until it is."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from kernels.devices import SHEETS

MEASURED = Path(__file__).parents[1] / "results" / "scale_rates.json"
"""What `python -m benchmarks.scale.measure` found."""


@dataclass(frozen=True)
class Figure:
    """A number and how it is known."""

    value: float
    unit: str
    source: Literal["measured", "assumed"]
    where: str


@dataclass(frozen=True)
class Rates:
    """Figures by name."""

    device: str
    figures: dict[str, Figure]

    def __getitem__(self, name: str) -> float:
        return self.figures[name].value

    def to_json(self) -> dict[str, object]:
        """JSON form, with sources."""
        return {name: asdict(figure) for name, figure in self.figures.items()}


def assumed(device: str, node_memory: float) -> dict[str, Figure]:
    """What stands in for measurements on a cluster of eight such GPUs a node."""

    def figure(value: float, unit: str, where: str) -> Figure:
        return Figure(value, unit, "assumed", where)

    sheet = SHEETS[device]
    return {
        "extract_flops": figure(0.3 * sheet.bfloat16, "flop/s", f"30 % of the {device}'s sheet in bfloat16"),
        "table_bytes_per_second": figure(1e9, "B/s", "tables made and put into the object store by one process"),
        "broker_call_seconds": figure(5e-4, "s", "processor time of one call of the broker"),
        "driver_trial_seconds": figure(0.05, "s", "processor time of the driver for one trial"),
        "trial_start_seconds": figure(
            6.0, "s", "a trial's process and torch, once on each GPU; orchestrator/grid/plan.py"
        ),
        "trial_change_seconds": figure(0.2, "s", "from one trial to the next in the same process"),
        "node_store_bytes": figure(0.3 * node_memory, "B", "Ray's default share of the node's memory"),
        "network_bytes_per_second": figure(6.25e9, "B/s", "half of 100 Gbit/s, each way of each node"),
        "disk_bytes_per_second": figure(2e9, "B/s", "a node's disk, for what Ray spills"),
        "jitter": figure(0.05, "", "standard deviation of the logarithm of a trial's speed"),
    }


def rates(device: str = "H100", node_memory: float = 2e12, given: Mapping[str, float] | None = None) -> Rates:
    """Figures measured where there are any, assumed otherwise; those `given` take the place of both."""
    figures = assumed(device, node_memory)
    if MEASURED.is_file():
        found = json.loads(MEASURED.read_text(encoding="utf-8"))["figures"]
        figures |= {name: Figure(**content) for name, content in found.items()}
    for name, value in (given or {}).items():
        if name not in figures:
            raise ValueError(f"rate {name!r}: allowed are {', '.join(figures)}")
        figures[name] = Figure(value, figures[name].unit, "assumed", "given on the command line")
    return Rates(device, figures)
