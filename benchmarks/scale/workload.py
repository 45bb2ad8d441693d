"""The grid that is simulated: 1,000 trials of the paper preset's sizes, and how long each takes over a shard.

Times of a step are those that a sweep's own plan has for such a GPU.
"""

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks.scale.rates import Rates
from kernels.devices import SHEETS
from orchestrator.activations.tables import table_bytes
from orchestrator.grid.cells import Cell, sheet_costs
from orchestrator.language_models.loading import forward_flops

MODEL, WIDTH = "packaged", 576
"""SmolLM2-135M's shapes, which are the packaged model's too."""
CONTEXT, BATCH_TOKENS = 2048, 1 << 16
HOOKPOINTS = ("layers.10", "layers.15", "layers.20", "layers.10.mlp", "layers.20.mlp")
KS, EXPANSIONS, VARIANTS = (8, 16, 32, 64, 128), (64, 128), ("topk", "mp")
VAL_SHARE = 1 / 3
"""Of a step's time that scoring as many tokens takes; assumed."""


@dataclass(frozen=True)
class Work:
    """One trial: what it reads and how long it is busy with each shard."""

    hookpoint: int
    seed: int
    shard_seconds: float


@dataclass(frozen=True)
class Workload:
    """All trials of a sweep, in the order in which they start, and the shards they read."""

    trials: list[Work]
    shards: int
    val_shards: int
    shard_tokens: int
    shard_bytes: int
    """Over all hookpoints."""
    table_bytes: int
    """Of one hookpoint's."""
    extract_seconds: float
    """Of one shard, on one extractor."""

    @property
    def seconds(self) -> float:
        """Of all training and scoring, on one GPU that never waits."""
        shards = self.shards + VAL_SHARE * self.val_shards
        return sum(trial.shard_seconds for trial in self.trials) * shards


def step_seconds(device: str, variant: str, k: int, expansion: int) -> float:
    """Of one optimiser step, `BATCH_TOKENS` tokens, on a GPU of that kind."""
    sheet, seed = SHEETS[device], 0
    cell = Cell(MODEL, HOOKPOINTS[0], k, expansion, variant, seed, WIDTH)
    return cell.step_flops(BATCH_TOKENS, sheet_costs(sheet)) / sheet.product


@cache
def extraction_flops() -> float:
    """Per token, for all hookpoints at once; counting them takes a second."""
    return forward_flops(MODEL, list(HOOKPOINTS), CONTEXT)


def workload(
    rates: Rates,
    *,
    trials: int = 1000,
    train_tokens: int = 1 << 27,
    val_tokens: int = 1 << 20,
    shard_tokens: int = 1 << 18,
    hookpoints: int = len(HOOKPOINTS),
    seed: int = 0,
) -> Workload:
    """The grid with as many seeds as `trials` needs, longest first; speeds differ by `jitter` at random."""
    cells = list(itertools.product(range(hookpoints), KS, EXPANSIONS, VARIANTS))
    noise = np.random.default_rng(seed).normal(0.0, rates["jitter"], trials)
    works = []
    for number, jitter in enumerate(noise):
        hookpoint, k, expansion, variant = cells[number % len(cells)]
        seconds = step_seconds(rates.device, variant, k, expansion) * shard_tokens / BATCH_TOKENS
        works.append(Work(hookpoint, number // len(cells), seconds * float(np.exp(jitter))))
    flops = extraction_flops() * shard_tokens
    all_bytes = table_bytes(shard_tokens, [WIDTH] * hookpoints, "float16")
    return Workload(
        trials=sorted(works, key=lambda work: -work.shard_seconds),
        shards=-(-train_tokens // shard_tokens),
        val_shards=-(-val_tokens // shard_tokens),
        shard_tokens=shard_tokens,
        shard_bytes=all_bytes,
        table_bytes=all_bytes // hookpoints,
        extract_seconds=flops / rates["extract_flops"] + all_bytes / rates["table_bytes_per_second"],
    )
