"""The status with which runs end: a trial, a sweep, and a sweep that breaks off."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.tracking.logged_models import CHECKPOINT
from orchestrator.tracking.tracker import Tracker
from orchestrator.trials.results import CODER_DIRECTORY, SCORES_DIRECTORY, result_of, scores_of

UNFINISHED = "did not finish"
"""Why a trial has no result that was interrupted before it had one."""


def log_result(tracker: Tracker, name: str, directory: Path, result: Mapping[str, Any]) -> None:
    """Final metrics, checkpoint, model and status of a trial that has ended; safe to repeat."""
    if "failure" not in result:
        metrics = {key: value for key, value in result.items() if key != "step"}
        tracker.log_metrics(name, metrics, result["step"])
        tracker.log_artifacts(name, directory / CODER_DIRECTORY, CHECKPOINT, once=True)
        tracker.log_model(name, metrics)
    tracker.end_trial(name, failure=result.get("failure"))


def log_scores(tracker: Tracker, name: str, directory: Path) -> None:
    """The scores of a trial, if it has any; safe to repeat."""
    if (scores := scores_of(directory)) is not None:
        result = result_of(directory) or {}
        # A later scoring, of more latents or with an LLM, stands at a later step.
        tracker.log_metrics(name, scores["metrics"], result["step"] + scores["times"] - 1)
        tracker.log_model(name, scores["metrics"])
        tracker.log_artifacts(name, directory / SCORES_DIRECTORY, SCORES_DIRECTORY)


def sweep_status(failures: Mapping[str, str]) -> str:
    """MLflow's status of a sweep's parent run, from why its trials have no result: KILLED where it was interrupted."""
    return "KILLED" if UNFINISHED in failures.values() else "FAILED" if failures else "FINISHED"


@contextmanager
def killed_if_raised(tracker: Tracker) -> Iterator[None]:
    """Close the parent run where the block raises."""
    try:
        yield
    except BaseException:
        tracker.finish("KILLED", timeout_s=10)
        raise
