"""Measures what the simulation needs and this machine can tell: processor time of the broker, of tables, of the driver.

    python -m benchmarks.scale.measure [--thousand thousand.json]

Writes benchmarks/results/scale_rates.json. Times are of processors, so that what else runs here matters little; the
driver's are taken from what `pytest -m scale` left.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from benchmarks.machine import describe_machine
from benchmarks.scale.rates import MEASURED, Figure
from orchestrator.activations.store import StoreConfig, start_broker
from orchestrator.activations.tables import ShardSpec, to_table

CALLS, SEQUENCES, LENGTH, WIDTH, REPEATS = 3000, 8, 2048, 576, 5


def main() -> None:
    """Measure, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--thousand", type=Path, help="what `pytest -m scale` wrote to OUT")
    given = parser.parse_args().thousand
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=1 << 30)
    try:
        figures = {"broker_call_seconds": broker_call(), "table_bytes_per_second": tables()}
    finally:
        ray.shutdown()
    if given:
        figures |= driver(json.loads(given.read_text(encoding="utf-8")))
    content = {
        "about": describe_machine("cpu", 1)
        | {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "command": "python -m benchmarks.scale.measure"},
        "figures": {name: asdict(figure) for name, figure in figures.items()},
    }
    MEASURED.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for name, figure in figures.items():
        print(f"{name}: {figure.value:.4g} {figure.unit} ({figure.where})")


def broker_call() -> Figure:
    """Of one answer for a shard that is kept; there is no model, so that nothing but the answer takes time."""
    with tempfile.TemporaryDirectory() as place:
        tokens = {split: str(Path(place) / f"{split}.npy") for split in ("train", "val")}
        for file in tokens.values():
            np.save(file, np.zeros((4, 8), dtype=np.int32))
        spec = ShardSpec("/nowhere", "none", ("layers.0", "layers.1"), "float16")
        options = {"num_cpus": 0}
        broker = start_broker("measured", StoreConfig(spec, tokens, 1, 1, 100, 1, None, 1, options))
        ray.get([broker.shard.remote("train", 0, [1, 2]) for _ in range(100)])
        before = ray.get(broker.__ray_call__.remote(_processor_seconds))
        ray.get([broker.shard.remote("train", number % 2, [1, 2]) for number in range(CALLS)])
        seconds = ray.get(broker.__ray_call__.remote(_processor_seconds)) - before
    return Figure(seconds / CALLS, "s", "measured", f"processor time of the broker, all threads, over {CALLS} answers")


def _processor_seconds(_: object) -> float:
    return time.process_time()


def tables() -> Figure:
    """Arrow tables made of float32 activations and put into the object store, on one core."""
    torch.set_num_threads(1)
    activations = torch.randn(SEQUENCES, LENGTH, WIDTH)
    tokens = np.zeros((SEQUENCES, LENGTH), dtype=np.int32)
    table = to_table(activations, tokens, "layers.0", "float16", 0)
    made = _fastest(lambda: to_table(activations, tokens, "layers.0", "float16", 0))
    put = _fastest(lambda: ray.put(table))
    where = f"processor time for {SEQUENCES * LENGTH} x {WIDTH}: made {made:.3f} s, put {put:.3f} s"
    return Figure(table.nbytes / (made + put), "B/s", "measured", where)


def _fastest(work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def driver(found: dict[str, Any]) -> dict[str, Figure]:
    """Of the driver with so many trials that it had."""
    spent, trials = found["driver_cpu_seconds_per_trial"], found["trials"]
    training = (spent["first half"] + spent["second half"]) / 2
    return {
        "driver_trial_seconds": Figure(
            training + spent["after the last"], "s", "measured",
            f"processor time of the driver over {trials} trials, {training:.3f} s while they ran, the rest for MLflow",
        ),
        "trial_change_seconds": Figure(
            found["seconds_per_trial"] * found["cpus"] - found["seconds_of_steps_per_trial"], "s", "measured",
            f"of a core for one trial beside its steps, over {trials} trials",
        ),
    }  # fmt: skip


if __name__ == "__main__":
    main()
