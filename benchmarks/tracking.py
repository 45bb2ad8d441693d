"""What a sweep of 200 trials with 100 points each costs in one SQLite store of MLflow; nothing is trained.

    python -m benchmarks.tracking

Delivery while the sweep goes on, the saved view in Chromium until nothing on it moves any more, and what `--resume`
waits for and then sends again. Some two minutes.
"""

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from orchestrator.tracking.journal import JOURNAL_FILE, read_entries
from orchestrator.tracking.metrics import METRICS
from orchestrator.tracking.tracker import Tracker
from tests.support.browser import texts
from tests.support.mlflow_server import Server
from tests.support.waiting import wait_until

JOURNAL = "journal"
CURVES = ("train/fvu", "dead_pct", "l0", "lr", "tokens_per_second", "train_seconds", "data_wait_pct")
AXES = (("layers.10", "layers.20"), (16, 32, 64, 128, 256), ("topk", "mp", "mp-tied", "ito", "mp-sliced"), (0, 1, 2, 3))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100, help="of each trial (100)")
    points = parser.parse_args().points
    trials = dict(_trials())
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        _open(directory).finish()  # makes the database, which takes seconds
        logged, delivered = deliver(directory, trials, points)
        values = sum(len(entry["data"]) for entry in read_entries(directory / JOURNAL) if entry["op"] == "metrics")
        print(f"{len(trials)} trials, {points} points each, {values:,} values\n\n| | |\n| --- | --- |")
        print(f"| written to the journal | {logged:.1f} s |")
        print(f"| delivered | {delivered:.1f} s, {values / delivered:,.0f} values/s |")
        print(f"| the saved view in Chromium | {open_view(directory, trials):.1f} s |")
        ready, again = resume(directory, trials, points)
        print(f"| opened again, until trials may start | {ready:.1f} s |")
        print(f"| opened again, until MLflow has been told of every trial | {again:.1f} s |")


def deliver(directory: Path, trials: dict[str, dict[str, Any]], points: int) -> tuple[float, float]:
    """Seconds until all is logged, the trials in turn, and from then on until MLflow has it while the sweep goes on."""
    tracker = _open(directory)
    for name, axes in trials.items():
        tracker.start_trial(name, axes, {"host": "h"})
    start = perf_counter()
    for step, name in itertools.product(range(1, points + 1), trials):
        tracker.log_metrics(name, {key: step + number / 10 for number, key in enumerate(CURVES)}, step)
    logged = perf_counter() - start
    wait_until(lambda: _delivered(tracker, directory))
    delivered = perf_counter() - start
    for name in trials:
        _end(tracker, name, points)
    tracker.save_view(METRICS, 4)
    tracker.finish()
    return logged, delivered


def open_view(directory: Path, trials: dict[str, dict[str, Any]]) -> float:
    """Seconds until the link shows every trial."""
    server = Server(directory)
    server.start()
    try:
        wait_until(server.answers)
        url = _open(directory).comparison_url(server.uri)
        start = perf_counter()
        page = texts(str(url), directory / "browser")
        seconds = perf_counter() - start
    finally:
        server.kill()
    shown = sum(name in page for name in trials)
    print(f"| trials in the view | {shown} |")
    return seconds


def resume(directory: Path, trials: dict[str, dict[str, Any]], points: int) -> tuple[float, float]:
    """Seconds until a resumed sweep has said all that it says of finished trials, and until MLflow knows it."""
    start = perf_counter()
    tracker = _open(directory)
    for name, axes in trials.items():
        tracker.start_trial(name, axes, {"host": "h"})
        _end(tracker, name, points)
    ready = perf_counter() - start
    wait_until(lambda: _delivered(tracker, directory))
    again = perf_counter() - start
    tracker.finish()
    return ready, again


def _open(directory: Path) -> Tracker:
    tracker = Tracker(None, "grid", "many", directory, directory / JOURNAL)
    tracker.start_sweep({"model": "m"}, {"host": "h"}, {})
    tracker.save_view(METRICS, 4)
    return tracker


def _delivered(tracker: Tracker, directory: Path) -> bool:
    return tracker._journal.state.offset == (directory / JOURNAL / JOURNAL_FILE).stat().st_size


def _end(tracker: Tracker, name: str, points: int) -> None:
    tracker.log_metrics(name, {"val/fvu": 0.5, "val/tokens": 8192.0, "peak_memory_bytes": 1e9}, points)
    tracker.end_trial(name)


def _trials() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and params."""
    for hookpoint, k, variant, seed in itertools.product(*AXES):
        axes = {"hookpoint": hookpoint, "k": k, "expansion_factor": 8, "variant": variant, "seed": seed}
        yield f"m-{hookpoint}-{variant}-k{k}-s{seed}", {"model": "m", **axes, "lr": 1e-3, "batch_tokens": 4096}


if __name__ == "__main__":
    main()
