"""What the driver does while Ray Tune runs: tell MLflow, and tell the person who waits."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune

from orchestrator.grid.cells import Cell
from orchestrator.grid.plan import Plan, duration
from orchestrator.tracking.tracker import Tracker
from orchestrator.trials.trial import TrialJob, result_of

PROGRESS_SECONDS = 10.0
METRICS = (
    "train/fvu", "val/fvu", "val/fvu_with_massive", "val/tokens", "val/massive_tokens", "dead_pct", "l0", "lr",
    "tokens_per_second", "train_seconds", "excluded_first_tokens", "excluded_massive_tokens",
)  # fmt: skip

log = logging.getLogger(__name__)


def job_of(trial: Any) -> TrialJob:
    """The job that a Tune trial runs."""
    return TrialJob.from_json(trial.config["job"])


def log_result(tracker: Tracker, name: str, directory: Path, result: Mapping[str, Any]) -> None:
    """Final metrics, checkpoint and status of a trial that has ended; safe to repeat."""
    if "failure" not in result:
        tracker.log_metrics(name, {key: value for key, value in result.items() if key != "step"}, result["step"])
        tracker.log_artifacts(name, directory / "coder", "checkpoint")
    tracker.end_trial(name, failure=result.get("failure"))


def _metrics(result: Mapping[str, Any]) -> dict[str, float]:
    return {key: result[key] for key in METRICS if key in result}


class _DriverCallback(tune.Callback):  # type: ignore[misc]
    """A callback made of the driver's live objects."""

    def __reduce__(self) -> Any:
        # Tune pickles its callbacks into an experiment state that is never read here: trials resume from their own.
        return tune.Callback, ()


class Tracking(_DriverCallback):
    """A child run per trial, with its metrics as they come and its end with the reason."""

    def __init__(self, tracker: Tracker, tags: Mapping[str, str]) -> None:
        self.tracker, self.tags = tracker, tags
        self.deaths: dict[str, str] = {}
        """Why trials died for good, by name."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Open, or continue, the trial's run."""
        cell = job_of(trial).cell
        self.tracker.start_trial(cell.name, cell.params, self.tags)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Log a step; the final result waits for `on_trial_complete`."""
        if "train/fvu" in result:
            self.tracker.log_metrics(job_of(trial).cell.name, _metrics(result), result["step"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Log how the trial ended."""
        job = job_of(trial)
        result = result_of(job.directory) or {"failure": "ended without a result"}
        log_result(self.tracker, job.cell.name, job.directory, result)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Log why the trial died for good."""
        lines = str(trial.get_error() or "died").strip().splitlines()
        name = job_of(trial).cell.name
        self.deaths[name] = lines[-1]
        log.error("trial %s died: %s", name, lines[-1])
        self.tracker.end_trial(name, failure="\n".join(lines)[-4000:])


class Progress(_DriverCallback):
    """One line now and then: trials, steps, shards, the best FVU so far and the time left."""

    def __init__(self, plan: Plan, brokers: list[Any], finished: list[Cell]) -> None:
        self.plan, self.brokers = plan, brokers
        self.steps = {cell.name: plan.cfg.steps for cell in finished}
        self.ended = len(finished)
        self.fvu: dict[str, float] = {}
        self.started = self.said = time.monotonic()
        self.done_before = self._work()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Note how far the trial is."""
        name = job_of(trial).cell.name
        self.steps[name] = result.get("step", self.plan.cfg.steps)
        for key in ("train/fvu", "val/fvu"):
            self.fvu[name] = result.get(key, self.fvu.get(name, float("nan")))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say how a trial ended."""
        self.ended += 1
        job = job_of(trial)
        result = result_of(job.directory) or {}
        if "failure" in result:
            log.warning("trial %s failed: %s", job.cell.name, result["failure"])
        else:
            log.info("trial %s: held-out FVU %.4f", job.cell.name, result["val/fvu"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Count a trial that died for good; `Tracking` says why."""
        self.ended += 1

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Print the line when it is due."""
        now = time.monotonic()
        if now - self.said >= PROGRESS_SECONDS:
            self.said = now
            log.info("%s", self.line(trials))

    def line(self, trials: list[Any]) -> str:
        """The progress line."""
        cells, total = self.plan.cells, self.plan.cfg.steps
        running = sum(trial.status == "RUNNING" for trial in trials)
        counts = broker_counters(self.brokers)
        shards = counts["shards_computed"] + counts["shards_from_disk"]
        fvu = " ".join(f"{name} {value:.3f}" for name, value in sorted(self.fvu.items(), key=lambda item: item[1])[:1])
        elapsed, done = time.monotonic() - self.started, self._work()
        gained = done - self.done_before
        left = duration(elapsed * (1 - done) / gained) if gained > 0.01 else f"about {duration(self.plan.seconds())}"
        return (
            f"trials {self.ended}/{len(cells)} done, {running} running"
            f" | steps {sum(self.steps.values())}/{total * len(cells)} | shards {shards}/{self.plan.total_shards}"
            f" | lowest FVU {fvu or '-'} | {left} left"
        )

    def _work(self) -> float:
        """Share of the predicted work that is done, 0 to 1."""
        work = {cell.name: self.plan.cell_flops(cell) for cell in self.plan.cells}
        done = sum(work[name] * steps / self.plan.cfg.steps for name, steps in self.steps.items())
        return done / sum(work.values())


def broker_counters(brokers: list[Any]) -> dict[str, int]:
    """Shard counters summed over the brokers of all models."""
    counts = ray.get([broker.counters.remote() for broker in brokers])
    return {key: sum(count[key] for count in counts) for key in counts[0]}
