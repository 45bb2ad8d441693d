"""What a trial costs beside its training steps: the same steps with batches at hand, from the stream, as a trial,
and as the only trial of a sweep, with Ray, its object store, MLflow and the driver, over shards that are cached.

    python -m benchmarks.loop

The first three in turn in one process, all on one core and at the size of the laptop sweep; it prints a table after
some minutes.
"""

import argparse
import logging
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.activations import cached_activations, load_activations
from benchmarks.host_shards import HostShards
from models import SparseCoder
from models.training import Trainer
from orchestrator.activations.shards import Shard
from orchestrator.activations.stream import TrainStream
from orchestrator.grid.cells import Cell
from orchestrator.grid.config import SweepConfig
from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.reader import read_sweeps
from orchestrator.trials.checkpoints import Checkpoints
from orchestrator.trials.clock import Clock
from orchestrator.trials.trial import TrialJob, run_steps

CONTEXT, SHARD_SEQUENCES, SHARDS = 256, 64, 12
CPU = torch.device("cpu")


def stored(x_ND: np.ndarray) -> HostShards:
    """Float16 shards, as the object store holds them: read-only, first positions among them."""
    size = CONTEXT * SHARD_SEQUENCES
    usable_T = np.arange(size) % CONTEXT > 0
    shards = []
    for start in range(0, SHARDS * size, size):
        values_TD = x_ND[start : start + size].astype(np.float16)
        values_TD.setflags(write=False)
        shards.append(Shard(values_TD, usable_T, np.zeros(size, dtype=bool)))
    return HostShards(shards)


def main() -> None:
    """Print seconds per step, and each against the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="each way is timed this many times (3)")
    rounds = parser.parse_args().rounds
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as trials have it
    torch.set_num_threads(1)
    logging.disable()
    shards = stored(load_activations(cached_activations(SHARDS * SHARD_SEQUENCES * CONTEXT)).numpy())
    sweep = SweepConfig(
        train_tokens=SHARDS * SHARD_SEQUENCES * CONTEXT, shard_tokens=SHARD_SEQUENCES * CONTEXT, warmup_steps=10,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        measure(shards, sweep, rounds, Path(place))


def measure(shards: HostShards, sweep: SweepConfig, rounds: int, place: Path) -> None:
    """Time each way so often; sweeps go into `place`."""
    ways: dict[str, Callable[[Cell, SweepConfig, HostShards], float]] = {
        "batches at hand": at_hand, "from the stream": from_stream, "as a trial": as_trial,
        "in a sweep": partial(in_a_sweep, place),
    }  # fmt: skip
    print(f"{sweep.steps} steps of {sweep.batch_tokens} tokens, medians of {rounds} runs\n")
    print("| variant | k | " + " | ".join(ways) + " |\n| --- | --- |" + " --- |" * len(ways))
    for variant, k in (("topk", 16), ("mp", 16)):
        cell = Cell("packaged", "layers.10", k, 8, variant, 0, shards.width)
        times: dict[str, list[float]] = {name: [] for name in ways}
        in_a_sweep(place, cell, sweep, shards)  # not counted: it fills the cache
        for _ in range(rounds):
            for name, way in ways.items():
                times[name].append(way(cell, sweep, shards))
        medians = {name: statistics.median(found) for name, found in times.items()}
        first = medians["batches at hand"]
        told = [f"{1000 * seconds:.1f} ms ({seconds / first:.3f})" for seconds in medians.values()]
        print(f"| {variant} | {k} | " + " | ".join(told) + " |", flush=True)


def _trainer(cell: Cell, sweep: SweepConfig, stream: TrainStream) -> Trainer:
    torch.manual_seed(0)
    trainer = Trainer(SparseCoder(cell.d_in, cell.coder), sweep.train_config(cell.lr))
    trainer.initialise(*stream.first_shard())
    return trainer


def at_hand(cell: Cell, sweep: SweepConfig, shards: HostShards) -> float:
    """Seconds per step, all batches being in memory as the step wants them."""
    with TrainStream(shards, len(shards), 0) as stream:
        trainer = _trainer(cell, sweep, stream)
        batches = [stream.next_batch(sweep.batch_tokens) for _ in range(sweep.steps)]
    start = perf_counter()
    for batch in batches:
        trainer.step(*batch)
    return (perf_counter() - start) / sweep.steps


def from_stream(cell: Cell, sweep: SweepConfig, shards: HostShards) -> float:
    """Seconds per step, batches being made when they are due."""
    with TrainStream(shards, len(shards), 0) as stream:
        trainer = _trainer(cell, sweep, stream)
        start = perf_counter()
        for _ in range(sweep.steps):
            trainer.step(*stream.next_batch(sweep.batch_tokens))
        return (perf_counter() - start) / sweep.steps


def as_trial(cell: Cell, sweep: SweepConfig, shards: HostShards) -> float:
    """Seconds per step with points of curves and checkpoints; Ray itself is left out."""
    reports: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place, TrainStream(shards, len(shards), 0) as stream:
        job = TrialJob(cell, replace(sweep, storage=Path(place)), Path(place), "", 0, None, 1)
        trainer = _trainer(cell, sweep, stream)
        start = perf_counter()
        run_steps(job, trainer, stream, Clock(CPU, 0.0), Checkpoints(job.directory), reports.append)
        return (perf_counter() - start) / sweep.steps


def in_a_sweep(place: Path, cell: Cell, sweep: SweepConfig, shards: HostShards) -> float:
    """Seconds per step of a sweep's only trial, by its own clock, which counts waiting, curves and checkpoints."""
    name = f"sweep-{len(list(place.iterdir()))}"
    flags = {
        "--variant": cell.variant, "--k": cell.k, "--hookpoint": cell.hookpoint,
        "--expansion-factor": cell.expansion_factor, "--train-tokens": sweep.train_tokens,
        "--shard-tokens": sweep.shard_tokens, "--warmup-steps": sweep.warmup_steps, "--scores": "none",
        "--storage": place, "--name": name, "--cache-dir": place / "cache",
    }  # fmt: skip
    words = [str(word) for flag in flags.items() for word in flag]
    subprocess.run([sys.executable, "sweeps/smollm_grid.py", *words], check=True, capture_output=True)
    (found,) = read_sweeps(default_uri(place), (name,))
    (trial,) = found.records
    return sweep.batch_tokens / trial.metrics["tokens_per_second"]


if __name__ == "__main__":
    main()
