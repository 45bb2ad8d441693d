"""What tests of orchestrator/tracking share."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.tracking.tracker import Tracker

REPOSITORY = Path(__file__).parents[2]


EXPERIMENT, SWEEP = "grid", "night's run"


def open_tracker(storage: Path, uri: str | None = None, journal: Path | None = None) -> Tracker:
    return Tracker(uri, EXPERIMENT, SWEEP, storage, journal or storage / "journal")


def runs(uri: str) -> dict[str, Run]:
    """All runs by name; fails if two share one."""
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    found = client.search_runs([experiment.experiment_id])
    by_name = {run.info.run_name: run for run in found}
    assert len(by_name) == len(found)
    return by_name


def steps(uri: str, run: Run, key: str) -> list[int]:
    return sorted(m.step for m in MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, key))
