"""What sharing activations costs and saves: shards read from the object store, and a sweep against trials on their own.

    python -m benchmarks.sharing

First the bandwidth of reading a shard beside that of copying memory. Then eight trials as one sweep, which runs the
language model once, and the same eight, two at a time, each of which runs it for itself: the same code from the batch
on, the same tokens in the same order, hence the same FVU. Once all layers of it, as sparsify's trainer does
(`self.model(x)` in sparsify/trainer.py), once those below the hookpoint alone. Over half an hour on two slow cores.
"""

import argparse
import json
import logging
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
import pyarrow as pa
import ray
import torch

from orchestrator.activations.reader import ShardReader
from orchestrator.activations.shards import Shard
from orchestrator.activations.tables import open_shard, to_table
from orchestrator.grid.cells import Cell, cells
from orchestrator.grid.config import SweepConfig
from orchestrator.language_models.loading import LanguageModel, resolve_hookpoints
from orchestrator.text.block_files import read_blocks
from orchestrator.trials.checkpoints import Checkpoints
from orchestrator.trials.trial import TRIAL_NICENESS, TrialJob, train

SEQUENCES, LENGTH, WIDTH, REPEATS = 64, 256, 576, 9
SWEEP, AT_ONCE = "shared", 2
ALL_LAYERS, THOSE_NEEDED = "all layers", "layers up to the hookpoint"
DEPTHS = (ALL_LAYERS, THOSE_NEEDED)
GRID = {"--variant": "topk mp", "--k": "8 16 32 64", "--scores": "none"}


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train-tokens", default="98304", help="of each trial (98304)")
    parser.add_argument("--hookpoint", default="layers.10", help="of all trials (layers.10)")
    given = parser.parse_args()
    tokens, hookpoint = given.train_tokens, given.hookpoint
    print_bandwidth()
    with tempfile.TemporaryDirectory() as place:
        whole, results = as_a_sweep(Path(place), tokens, hookpoint)
        alone = {name: on_their_own(Path(place), name) for name in DEPTHS}
    print(f"\n{len(results)} trials of {tokens} tokens at {hookpoint}, start to end\n")
    print("| | s | of one sweep | largest difference of FVU |\n| --- | --- | --- | --- |")
    print(f"| as one sweep | {whole:.0f} | 1 | |")
    for depth, (seconds, own_results) in alone.items():
        largest = max(abs(results[name] - own_results[name]) for name in results)
        row = f"each on its own, {AT_ONCE} at a time, {depth} | {seconds:.0f} | {seconds / whole:.2f} | {largest:.2g}"
        print(f"| {row} |")


def print_bandwidth() -> None:
    """Of one shard of float16, medians on one core."""
    torch.set_num_threads(1)
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=1 << 30)
    try:
        activations = torch.randn(SEQUENCES, LENGTH, WIDTH)
        tokens = np.zeros((SEQUENCES, LENGTH), dtype=np.int32)
        reference = ray.put(to_table(activations, tokens, "layers.0", "float16", 0))
        shard = _opened(ray.get(reference))
        order, values = np.random.default_rng(0).permutation(shard.ordinary), np.array(shard.values_TD)
        out = [torch.empty(len(order), WIDTH)]
        copy = np.empty_like(values)
        taken = len(order) * values.itemsize * WIDTH
        print(f"a shard of {values.nbytes / 1e6:.1f} MB\n\n| | ms | GB/s |\n| --- | --- | --- |")
        _tell("opened from the store, nothing copied", 0, lambda: _opened(ray.get(reference)))
        _tell("memory copied", values.nbytes, lambda: np.copyto(copy, values))
        _tell("the shard copied from the store", values.nbytes, lambda: np.copyto(copy, shard.values_TD))
        _tell("memory made float32", values.nbytes, lambda: torch.from_numpy(values).float())
        _tell("batches from the store: shuffled, float32", taken, lambda: shard.copy_rows(order, out))
    finally:
        ray.shutdown()


def _opened(table: pa.Table) -> Shard:
    return open_shard(table, exclude_first=True, massive_multiple=10.0)


def _tell(what: str, count: int, work: Callable[[], object]) -> None:
    times = []
    for _ in range(REPEATS):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    seconds = statistics.median(times)
    rate = f"{count / seconds / 1e9:.2f}" if count else ""
    print(f"| {what} | {1000 * seconds:.2f} | {rate} |")


def as_a_sweep(storage: Path, tokens: str, hookpoint: str) -> tuple[float, dict[str, float]]:
    """Seconds of the whole command, and each trial's FVU."""
    words = [word for flag, values in GRID.items() for word in (flag, *values.split())]
    words += ["--train-tokens", tokens, "--hookpoint", hookpoint, "--storage", str(storage), "--name", SWEEP]
    start = perf_counter()
    subprocess.run([sys.executable, "sweeps/smollm_grid.py", *words], check=True, capture_output=True)
    seconds = perf_counter() - start
    found = json.loads((storage / SWEEP / "results.json").read_text(encoding="utf-8"))["results"]
    return seconds, {name: result["val/fvu"] for name, result in found.items()}


def on_their_own(storage: Path, depth: str) -> tuple[float, dict[str, float]]:
    """The same for trials that each run the language model, on the token blocks that the sweep has left."""
    sweep = _sweep(storage)
    grid = cells(sweep, {model: resolve_hookpoints(model, sweep.hookpoint) for model in sweep.model})
    start = perf_counter()
    with multiprocessing.get_context("spawn").Pool(AT_ONCE, maxtasksperchild=1) as pool:
        found = pool.starmap(on_its_own, [(storage, depth, cell) for cell in grid], chunksize=1)
    return perf_counter() - start, dict(zip((cell.name for cell in grid), found, strict=True))


def on_its_own(storage: Path, depth: str, cell: Cell) -> float:
    """FVU of one of them."""
    logging.disable()
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as trials have it
    torch.set_num_threads(1)
    os.setpriority(os.PRIO_PROCESS, 0, TRIAL_NICENESS)
    sweep = _sweep(storage)
    (blocks,) = (storage / "tokens").iterdir()
    model = LanguageModel.load(cell.model)
    last = f"layers.{model.base.config.num_hidden_layers - 1}"
    reader = OwnShards(
        None, 0, sweep.exclude_first, sweep.massive_multiple,
        cell=cell, sweep=sweep, model=model, captured=[cell.hookpoint, *([last] if depth == ALL_LAYERS else [])],
        tokens={split: read_blocks(blocks / f"{split}.npy") for split in ("train", "val")},
    )  # fmt: skip
    job = TrialJob(cell, sweep, storage / depth / cell.name, "", 0, None, 1)
    result = train(job, reader, Checkpoints(job.directory), lambda metrics: None)
    return float(result["val/fvu"])


def _sweep(storage: Path) -> SweepConfig:
    return SweepConfig.from_json((storage / SWEEP / "sweep.json").read_bytes())


@dataclass(frozen=True, kw_only=True)
class OwnShards(ShardReader):
    """Computes every shard it reads, and keeps the first, which a coder is initialised from."""

    model: LanguageModel
    captured: list[str]
    """The hookpoint, and whatever else the model must have computed before it stops."""
    cell: Cell
    sweep: SweepConfig
    tokens: dict[str, np.ndarray]
    first: dict[int, Shard] = field(default_factory=dict)

    def read(self, split: str, index: int, upcoming: list[int]) -> Shard:
        """One shard, computed now."""
        if split == "train" and index in self.first:
            return self.first[index]
        blocks, place = self.sweep.blocks_per_shard, self.cell.hookpoint
        tokens_NL = np.array(self.tokens[split][index * blocks : (index + 1) * blocks])
        captured = self.model.capture(torch.from_numpy(tokens_NL.astype(np.int64)), self.captured)[place]
        table = to_table(captured, tokens_NL, place, self.sweep.shard_dtype, index * blocks)
        shard = open_shard(table, exclude_first=self.exclude_first, massive_multiple=self.massive_multiple)
        if split == "train" and not self.first:
            self.first[index] = shard
        return shard


if __name__ == "__main__":
    main()
