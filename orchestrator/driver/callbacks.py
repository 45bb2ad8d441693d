"""What MLflow is told while Ray Tune runs."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune

from orchestrator.driver.notes import trial_tags
from orchestrator.tracking.datasets import Dataset
from orchestrator.tracking.endings import log_result
from orchestrator.tracking.metrics import metrics_of
from orchestrator.tracking.tracker import Tracker
from orchestrator.trials.results import fetch, result_of
from orchestrator.trials.trial import TrialJob

KILLED_FOR_MEMORY = "its process was killed for memory; smaller --shard-tokens, --batch-tokens or --store-gb need less"

log = logging.getLogger(__name__)


TRIAL = "trial"
"""Key of a Tune trial's config. Its value is a name: Tune copies and saves configs many times over."""


def reason_of(trial: Any) -> str:
    """Why a trial's process died, in one line."""
    error = error_of(trial)
    if "OutOfMemoryError" in error or "running low on memory" in error:
        return KILLED_FOR_MEMORY
    return error.splitlines()[-1]


def error_of(trial: Any) -> str:
    """What Tune kept of a trial's error. `trial.get_error()` looks where it is copied to later."""
    name = trial.run_metadata.error_filename
    path = Path(trial.local_path) / name if name else None
    return (path.read_text(encoding="utf-8").strip() if path and path.is_file() else "") or "died"


class DriverCallback(tune.Callback):  # type: ignore[misc]
    """A callback made of the driver's live objects."""

    def __init__(self, jobs: Mapping[str, TrialJob]) -> None:
        self.jobs = jobs
        """By the names of their trials."""

    def job_of(self, trial: Any) -> TrialJob:
        """The job that a Tune trial runs."""
        return self.jobs[trial.config[TRIAL]]

    def __reduce__(self) -> Any:
        # Tune pickles its callbacks into an experiment state that is never read here: trials resume from their own.
        return tune.Callback, ()


class Tracking(DriverCallback):
    """A child run per trial, with its metrics as they come and its end with the reason."""

    def __init__(
        self,
        jobs: Mapping[str, TrialJob],
        tracker: Tracker,
        params: Mapping[str, Mapping[str, Any]],
        tags: Mapping[str, str],
        datasets: Mapping[str, Sequence[Dataset]],
    ) -> None:
        super().__init__(jobs)
        self.tracker, self.params, self.tags = tracker, params, tags
        self.datasets = datasets
        """By model."""
        self.deaths: dict[str, str] = {}
        """Why trials died for good, by name."""
        self.recovered: set[str] = set()
        """Why trials died that were started again."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Open, or continue, the trial's run."""
        cell = self.job_of(trial).cell
        tags = {**self.tags, **trial_tags(cell)}
        self.tracker.start_trial(cell.name, self.params[cell.name], tags, self.datasets[cell.model])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Log the points of its curves; the final result waits for `on_trial_complete`."""
        for point in result.get("points", ()):
            self.tracker.log_metrics(trial.config[TRIAL], metrics_of(point), point["step"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Log how the trial ended: only one that was stopped has no result."""
        job = self.job_of(trial)
        fetch(job.directory, job.remote())
        if result := result_of(job.directory):
            log_result(self.tracker, job.cell.name, job.directory, result)
        else:
            self.tracker.kill_trial(job.cell.name)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say why a trial is started again, once for each reason."""
        reason = reason_of(trial)
        if reason not in self.recovered:
            self.recovered.add(reason)
            log.warning("trial %s died and goes on from its checkpoint: %s", trial.config[TRIAL], reason)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Log why the trial died for good."""
        name = trial.config[TRIAL]
        self.deaths[name] = reason_of(trial)
        log.error("trial %s died: %s", name, self.deaths[name])
        self.tracker.end_trial(name, failure=f"{self.deaths[name]}\n{error_of(trial)}"[:4000])
