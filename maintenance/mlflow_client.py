"""A small sweep told to an MLflow server, with the release of the library that Python finds; for mlflow_releases.py."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

from orchestrator.tracking.journal import read_entries
from orchestrator.tracking.metrics import METRICS
from orchestrator.tracking.reader import read_sweep
from orchestrator.tracking.records import journal_records
from orchestrator.tracking.tracker import Tracker
from orchestrator.tracking.views import AUTOINTERP
from tests.support.records import SWEEP, TRIALS, log_sweep

JOURNAL = "journal"


def main(uri: str, directory: Path) -> None:
    """Log it, and say as JSON what came of it: entries, those left, whether MLflow has every value, and the link."""
    log_sweep(directory, uri)
    tracker = Tracker(uri, "grid", SWEEP, directory, directory / JOURNAL)
    for name in TRIALS:  # something for every section of the view
        tracker.log_metrics(name, {AUTOINTERP: 0.75, "tokens_per_second": 9e3, "train_seconds": 5.0}, 20)
    tracker.save_view({*METRICS, AUTOINTERP}, 2)
    left = tracker.finish()
    said = {
        "client": version("mlflow"),
        "entries": sum(1 for _ in read_entries(directory / JOURNAL)),
        "left": left,
        "same": read_sweep(uri, SWEEP).records == journal_records(directory / JOURNAL),
        "url": tracker.comparison_url(),
    }
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
