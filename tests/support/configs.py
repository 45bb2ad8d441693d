"""What tests of orchestrator/grid share."""

from typing import Any

from orchestrator.grid.config import SweepConfig
from orchestrator.grid.hardware import Hardware


def small(**fields: Any) -> SweepConfig:
    """A config of 100 steps."""
    given = {"train_tokens": 6400, "val_tokens": 320, "context_length": 32, "shard_tokens": 1024, "batch_tokens": 62}
    return SweepConfig(**(given | {"warmup_steps": 10} | fields))


def hardware(gpus: int, *, cluster: bool = False, cpus: int = 8, nodes: int = 1) -> Hardware:
    return Hardware(cpus, gpus, nodes, cluster)
