"""What a sweep will cost, predicted from shapes alone."""

import time
from collections.abc import Collection
from dataclasses import dataclass, field

import torch

from kernels.backend import backend_of
from kernels.devices import assumed_flops
from orchestrator.activations.tables import table_bytes
from orchestrator.grid.cells import Cell
from orchestrator.grid.config import SweepConfig
from orchestrator.grid.hardware import Hardware
from orchestrator.grid.shares import Shares
from orchestrator.language_models.hookpoints import Hookpoint, what_patterns_meant
from orchestrator.language_models.loading import forward_flops

TRIAL_START_SECONDS = 6.0
"""Starting a trial's process and importing torch."""


@dataclass(frozen=True)
class Plan:
    """Predictions for one sweep."""

    cells: list[Cell]
    cfg: SweepConfig
    concurrent: int
    flops_per_second: float
    """Of one trial."""
    extract_flops: float
    extract_rate: float
    """Flops a second of all extractors together."""
    shard_bytes: dict[str, int]
    """Of one shard over all hookpoints of each model."""
    extraction: str
    """Who runs the language models, and on what."""
    meant: list[str] = field(default_factory=list)
    """Lines on what the wildcards of hookpoints meant."""

    def cell_flops(self, cell: Cell) -> float:
        """Training work of one cell."""
        return self.cfg.steps * cell.step_flops(self.cfg.batch_tokens)

    def cell_seconds(self, cell: Cell) -> float:
        """Time of one cell on its own."""
        return TRIAL_START_SECONDS + self.cell_flops(cell) / self.flops_per_second

    @property
    def total_shards(self) -> int:
        """Distinct shards over all models."""
        return len(self.shard_bytes) * (self.cfg.shards("train") + self.cfg.shards("val"))

    @property
    def store_bytes(self) -> int:
        """Object-store bytes if every shard is kept."""
        return sum(self.shard_bytes.values()) * (self.cfg.shards("train") + self.cfg.shards("val"))

    def seconds(self, done: Collection[str] = ()) -> float:
        """Time of the trials that are not `done`: extraction, then trials longest first on what is free."""
        left = [cell for cell in self.cells if cell.name not in done]
        if not left:
            return 0.0
        lanes = [0.0] * min(self.concurrent, len(left))
        for cell in left:
            lanes[lanes.index(min(lanes))] += self.cell_seconds(cell)
        return max(lanes) + self.extract_flops / self.extract_rate

    def describe(self, done: Collection[str] = ()) -> str:
        """The plan as text for a person; of a resumed sweep, what is not `done`."""
        left = [cell for cell in self.cells if cell.name not in done]
        width = max(len(cell.name) for cell in self.cells) + 2
        header = f"{'trial':<{width}}{'steps':>7}{'PFLOP':>10}{'memory':>10}{'time':>9}"
        lines = [header] + [
            f"{cell.name:<{width}}{self.cfg.steps:>7} {self.cell_flops(cell) / 1e15:>9.3g}"
            f" {_gb(cell.memory_bytes(self.cfg.batch_tokens)):>9} {duration(self.cell_seconds(cell)):>8}"
            for cell in left
        ]
        total = sum(map(self.cell_flops, left))
        before = f"{len(done)} of {len(self.cells)} trials are done; " if done else ""
        return "\n".join(
            [
                *lines,
                *self.meant,
                f"{before}{len(left)} trial{'s' * (len(left) != 1)}, {self.concurrent} at a time; "
                f"{total / 1e15:.3g} PFLOP of training, "
                f"{self.extract_flops / 1e15:.3g} PFLOP of language model for {self.total_shards} shards",
                self.extraction,
                f"activations: {_gb(self.store_bytes)} in the object store if all are kept",
                f"time: about {duration(self.seconds(done))} at {self.flops_per_second / 1e9:.0f} GFLOP/s per trial",
            ]
        )


def make_plan(
    cfg: SweepConfig, cells: list[Cell], hookpoints: dict[str, list[Hookpoint]], hardware: Hardware, shares: Shares
) -> Plan:
    """Predict; on a CPU its matrix rate is measured for a moment, for GPUs one is assumed."""
    gpu = bool(shares.trial.get("gpu"))
    rate = assumed_flops() * min(1.0, shares.trial["gpu"]) if gpu else _core_flops()
    tokens = cfg.train_tokens + cfg.val_tokens
    flops = {
        model: forward_flops(model, [point.name for point in points], cfg.context_length)
        for model, points in hookpoints.items()
    }
    return Plan(
        cells=cells,
        cfg=cfg,
        concurrent=shares.concurrent,
        flops_per_second=rate,
        extract_flops=tokens * sum(flops.values()),
        extract_rate=assumed_flops() * shares.extractors if gpu else rate * hardware.cpus,
        shard_bytes={
            model: table_bytes(cfg.blocks_per_shard * cfg.context_length, [p.width for p in points], cfg.shard_dtype)
            for model, points in hookpoints.items()
        },
        extraction=shares.describe(len(hookpoints)),
        meant=[
            f"{model}: {line}" if len(hookpoints) > 1 else line
            for model, points in hookpoints.items()
            for line in what_patterns_meant(cfg.hookpoint, points)
        ],
    )


def _core_flops() -> float:
    """Matrix rate of one core in the dtype that the kernels multiply in, measured."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        like = torch.empty(0)
        a = torch.ones(768, 768, dtype=backend_of(like).gram_dtype(like, None))
        a @ a
        start = time.perf_counter()
        for _ in range(4):
            a @ a
        return 4 * 2 * 768**3 / (time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
