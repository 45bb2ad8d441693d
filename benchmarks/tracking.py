"""What a sweep of 200 trials with 100 points each costs in one SQLite store of MLflow; nothing is trained.

    python -m benchmarks.tracking

Delivery while the sweep goes on, the saved view in Chromium until trials and charts are there, and what `--resume`
waits for and then sends again. Some two minutes.
"""

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from orchestrator.tracking.journal import JOURNAL_FILE
from orchestrator.tracking.metrics import METRICS
from orchestrator.tracking.tracker import Tracker
from tests.support.browser import watched
from tests.support.mlflow_server import Server
from tests.support.waiting import wait_until

JOURNAL = "journal"
SHOWN = """(() => {
    const names = new Set((document.body?.textContent ?? '').match(/m-layers[.][0-9]+-[a-z-]+-k[0-9]+-s[0-9]/g));
    return names.size >= 100 && document.querySelectorAll('.js-plotly-plot .main-svg').length >= 9 && names.size;
})()"""
"""MLflow's page lists a hundred runs at first; three charts, of three layers each, are in sight."""
CURVES = ("train/fvu", "dead_pct", "l0", "lr", "tokens_per_second", "train_seconds", "data_wait_pct")
AXES = (("layers.10", "layers.20"), (16, 32, 64, 128, 256), ("topk", "mp", "mp-tied", "ito", "mp-sliced"), (0, 1, 2, 3))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100, help="of each trial (100)")
    points = parser.parse_args().points
    trials = dict(_trials())
    print(f"{len(trials)} trials, {points} points of {len(CURVES)} curves each\n\n| | |\n| --- | --- |")
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        _open(directory).finish()  # makes the database, which takes seconds
        deliver(directory, trials, points)
        open_view(directory, trials)
        resume(directory, trials, points)


class Clock:
    """Seconds since it was made, and those of them in which this process had a core."""

    def __init__(self) -> None:
        self.start, self.cpu_start = perf_counter(), process_time()

    def tell(self, what: str, values: int = 0) -> None:
        """Print a row."""
        seconds, cpu = perf_counter() - self.start, process_time() - self.cpu_start
        rate = f", {values / seconds:,.0f} values/s" if values else ""
        print(f"| {what} | {seconds:.1f} s, {cpu:.1f} s of a core{rate} |", flush=True)


def deliver(directory: Path, trials: dict[str, dict[str, Any]], points: int) -> None:
    """Log points of all trials in turn, faster than any sweep, and wait until MLflow has them, as the sweep goes on."""
    tracker = _open(directory)
    for name, axes in trials.items():
        tracker.start_trial(name, axes, {"host": "h"})
    clock = Clock()
    for step, name in itertools.product(range(1, points + 1), trials):
        tracker.log_metrics(name, {key: step + number / 10 for number, key in enumerate(CURVES)}, step)
    clock.tell("written to the journal")
    wait_until(lambda: _delivered(tracker, directory))
    clock.tell("delivered", len(trials) * points * len(CURVES))
    for name in trials:
        _end(tracker, name, points)
    tracker.finish()


def open_view(directory: Path, trials: dict[str, dict[str, Any]]) -> None:
    """Open the link until a page of trials is listed, and the charts in sight are drawn."""
    tracker = _open(directory)
    tracker.finish()
    server = Server(directory)
    server.start()
    try:
        wait_until(server.answers)
        url = tracker.comparison_url(server.uri)
        clock = Clock()
        shown = watched(str(url), directory / "browser", SHOWN)
    finally:
        server.kill()
    clock.tell(f"the saved view in Chromium, with {shown} of {len(trials)} trials")


def resume(directory: Path, trials: dict[str, dict[str, Any]], points: int) -> None:
    """Open the sweep again, and say of its finished trials what a resumed sweep says."""
    clock = Clock()
    tracker = _open(directory)
    for name, axes in trials.items():
        tracker.start_trial(name, axes, {"host": "h"})
        _end(tracker, name, points)
    clock.tell("opened again, until trials may start")
    wait_until(lambda: _delivered(tracker, directory))
    clock.tell("opened again, until MLflow has been told of every trial")
    tracker.finish()


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
