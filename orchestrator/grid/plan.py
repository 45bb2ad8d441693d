"""What a sweep will cost, predicted from shapes alone."""

import heapq
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch

from kernels.backend import backend_of
from kernels.devices import assumed_flops, this_sheet
from orchestrator.activations.tables import table_bytes
from orchestrator.grid.cells import Cell, Costs, costs
from orchestrator.grid.config import SweepConfig
from orchestrator.grid.hardware import Hardware
from orchestrator.grid.shares import Shares
from orchestrator.language_models.hookpoints import Hookpoint, what_patterns_meant
from orchestrator.language_models.loading import forward_flops

START_SECONDS = 8.0
"""Of MLflow and Ray."""
LOADING_SECONDS = 8.0
"""Until work begins then: processes import torch, and load the language model."""
TRIAL_SECONDS = 1.0
"""Of a trial beside its steps and its held-out tokens: what is written when it ends. It has the process of another."""
END_SECONDS = 5.0
"""Figures and tables."""
CPU_OTHER_FLOPS = 210e9
"""Of one core, in work that is no matrix product and is counted in flops of one. It was counted on a core of that rate
(Zen 4); one whose products are six times as fast (AMX) is no faster at the rest."""
SCORING_START_SECONDS = 18.0
"""Of the first trial that a process scores: delphi, the sentence encoder and the language model are loaded."""
LATENT_SECONDS = 0.38
"""Scoring one latent on one core by its examples' embeddings, without an LLM."""
GRAFT_FORWARDS = 4
"""Times the whole model goes over the tokens on which a coder's faithfulness is measured."""
OTHER_ENCODERS = 3
"""Encoders that a dictionary is tried with, each of which scores all latents at every choice."""
SCORING_PASSES = 3
"""Times a coder goes over the held-out tokens to be scored."""


@dataclass(frozen=True)
class Scoring:
    """How much is scored of a trial."""

    latents: int
    grafted_tokens: int
    inference_tokens: int = 0
    """On which other encoders are tried."""


NOT_SCORED = Scoring(0, 0)


@dataclass(frozen=True)
class Plan:
    """Predictions for one sweep."""

    cells: list[Cell]
    cfg: SweepConfig
    concurrent: int
    costs: Costs
    """Where trials run."""
    flops_per_second: float
    """Of matrix products, of one trial."""
    other_flops_per_second: float
    """Of one trial, of work that is no matrix product and is counted in flops of one."""
    scoring_rate: float
    """Flops a second of what a trial is scored with: a language model, and encoders."""
    extract_flops: float
    extract_rate: float
    """Flops a second of all extractors together."""
    model_flops: Mapping[str, float]
    """Of each model's whole forward, a token; empty where nothing is scored."""
    scored: Scoring
    shard_bytes: dict[str, int]
    """Of one shard over all hookpoints of each model."""
    extraction: str
    """Who runs the language models, and on what."""
    meant: list[str] = field(default_factory=list)
    """Lines on what the wildcards of hookpoints meant."""

    def cell_flops(self, cell: Cell) -> float:
        """Training work of one cell."""
        return self.cfg.steps * cell.step_flops(self.cfg.batch_tokens, self.costs)

    def cell_seconds(self, cell: Cell) -> float:
        """Time of training one cell where nothing else runs."""
        return self._cell_seconds[cell.name]

    @cached_property
    def _cell_seconds(self) -> dict[str, float]:
        """By name: a sweep of a thousand trials asks every other second."""
        return {cell.name: self._seconds_of(cell) for cell in self.cells}

    def _seconds_of(self, cell: Cell) -> float:
        return TRIAL_SECONDS + self.cfg.steps * self._step_seconds(cell) + self._pass_seconds(cell)

    def _step_seconds(self, cell: Cell) -> float:
        products = cell.product_flops(self.cfg.batch_tokens, self.costs)
        others = cell.step_flops(self.cfg.batch_tokens, self.costs) - products
        return products / self.flops_per_second + others / self.other_flops_per_second

    def _pass_seconds(self, cell: Cell) -> float:
        """Of one pass over the held-out tokens, a batch of which is taken for half a step."""
        return self._step_seconds(cell) * self.cfg.val_tokens / self.cfg.batch_tokens / 2

    def scoring_seconds(self, cell: Cell) -> float:
        """Time of scoring one cell, in a process that has scored another; an LLM that explains is not reckoned with."""
        if self.scored == NOT_SCORED:
            return 0.0
        forwards = GRAFT_FORWARDS * self.scored.grafted_tokens * self.model_flops.get(cell.model, 0.0)
        products = 2.0 * cell.k * self.scored.inference_tokens * cell.coder.latents(cell.d_in) * cell.d_in
        passes = SCORING_PASSES * self._pass_seconds(cell)
        return (
            LATENT_SECONDS * self.scored.latents + (forwards + OTHER_ENCODERS * products) / self.scoring_rate + passes
        )

    @property
    def extraction_seconds(self) -> float:
        """Time of all shards."""
        return self.extract_flops / self.extract_rate

    @property
    def total_shards(self) -> int:
        """Distinct shards over all models."""
        return len(self.shard_bytes) * (self.cfg.shards("train") + self.cfg.shards("val"))

    @property
    def store_bytes(self) -> int:
        """Object-store bytes if every shard is kept."""
        return sum(self.shard_bytes.values()) * (self.cfg.shards("train") + self.cfg.shards("val"))

    def training_left(self, done: Mapping[str, float]) -> float:
        """Time of the trials of which these shares are done: those that have begun first, then longest first."""
        left = {cell: 1 - done.get(cell.name, 0.0) for cell in self.cells}
        begun_first = sorted((cell for cell in self.cells if left[cell]), key=lambda cell: left[cell] == 1)
        return makespan((left[cell] * self.cell_seconds(cell) for cell in begun_first), [0.0] * self.concurrent)

    def scoring_left(self, scored: Collection[str]) -> float:
        """Time of scoring all but these, from the first process on."""
        left = [self.scoring_seconds(cell) for cell in self.cells if cell.name not in scored]
        loading = SCORING_START_SECONDS * (sum(left) > 0 and self.scored.latents > 0)
        return loading + makespan(left, [0.0] * self.concurrent)

    def seconds(self, trained: Collection[str] = (), scored: Collection[str] = ()) -> float:
        """Time of a sweep of which so much is done, from the plan to the last line."""
        training = self.training_left(dict.fromkeys(trained, 1.0))
        scoring = self.scoring_left(scored)
        held_out_alone = self.cfg.shards("val") * len(self.shard_bytes) / self.total_shards
        extraction = self.extraction_seconds * (1.0 if training else held_out_alone)
        around = START_SECONDS + LOADING_SECONDS + END_SECONDS
        return around + extraction + training + scoring if training or scoring else 0.0

    def describe(self, done: Collection[str] = (), scored: Collection[str] = ()) -> str:
        """The plan as text for a person; of a resumed sweep, what is left to train and to score."""
        left = [cell for cell in self.cells if cell.name not in done]
        width = max(len(cell.name) for cell in self.cells) + 2
        header = f"{'trial':<{width}}{'steps':>7}{'PFLOP':>10}{'memory':>10}{'time':>9}"
        lines = [header] + [
            f"{cell.name:<{width}}{self.cfg.steps:>7} {self.cell_flops(cell) / 1e15:>9.3g}"
            f" {_gb(cell.memory_bytes(self.cfg.batch_tokens, self.costs)):>9} {duration(self.cell_seconds(cell)):>8}"
            for cell in left
        ]
        total = sum(map(self.cell_flops, left))
        scoring = self.scoring_left(scored)
        to_score = f", {duration(scoring)} of which to score," if scoring else ""
        before = f"{len(done)} of {len(self.cells)} trials are done; " if done else ""
        return "\n".join(
            [
                *lines,
                *self.meant,
                f"{before}{len(left)} trial{'s' * (len(left) != 1)}, {self.concurrent} at a time; "
                f"{total / 1e15:.3g} PFLOP of training, "
                f"{self.extract_flops / 1e15:.3g} PFLOP of language model for {self.total_shards} shards",
                self.cfg.training,
                self.extraction,
                f"activations: {_gb(self.store_bytes)} in the object store if all are kept",
                f"time: about {duration(self.seconds(done, scored))}{to_score} "
                f"at {self.flops_per_second / 1e9:.0f} GFLOP/s per trial",
            ]
        )


def makespan(seconds: Iterable[float], free: Iterable[float]) -> float:
    """When the last of several jobs ends that begin in their order, each on the lane that is free first.

    `free` says when each lane is, of which there is one at least.
    """
    lanes = list(free)
    heapq.heapify(lanes)
    for each in seconds:
        heapq.heapreplace(lanes, lanes[0] + each)
    return max(lanes)


def make_plan(
    cfg: SweepConfig,
    cells: list[Cell],
    hookpoints: dict[str, list[Hookpoint]],
    hardware: Hardware,
    shares: Shares,
    scored: Scoring = NOT_SCORED,
) -> Plan:
    """Predict; on a CPU its matrix rate is measured for a moment, for GPUs one is taken from a table."""
    gpu = bool(shares.trial.get("gpu"))
    if gpu:
        share = min(1.0, shares.trial["gpu"])
        rate = other = this_sheet().product * share
        scoring_rate = assumed_flops() * share / 2
        extract_rate = assumed_flops() * shares.extractors
    else:
        rate, other = _core_flops(), CPU_OTHER_FLOPS
        scoring_rate = 1 / (1 / rate + 1 / other)
        extract_rate = hardware.cpus * scoring_rate
    tokens = cfg.train_tokens + cfg.val_tokens
    flops = {
        model: forward_flops(model, [point.name for point in points], cfg.context_length)
        for model, points in hookpoints.items()
    }
    return Plan(
        cells=cells,
        cfg=cfg,
        concurrent=shares.concurrent,
        costs=costs(gpu),
        flops_per_second=rate,
        other_flops_per_second=other,
        scoring_rate=scoring_rate,
        extract_flops=tokens * sum(flops.values()),
        extract_rate=extract_rate,
        model_flops={model: forward_flops(model, None, cfg.context_length) for model in hookpoints if scored.latents},
        scored=scored,
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
