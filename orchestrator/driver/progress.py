"""What the person who waits is told while a sweep runs."""

import logging
import time
from collections.abc import Collection, Mapping
from typing import Any

from orchestrator.driver import brokers
from orchestrator.driver.callbacks import TRIAL, DriverCallback
from orchestrator.driver.ray_session import check_ray
from orchestrator.grid.plan import Plan, duration
from orchestrator.trials.results import result_of
from orchestrator.trials.trial import TrialJob

PROGRESS_SECONDS = 10.0

log = logging.getLogger(__name__)


class Progress(DriverCallback):
    """One line now and then: trials, steps, shards, the best FVU so far and the time left."""

    def __init__(
        self, jobs: Mapping[str, TrialJob], plan: Plan, shard_brokers: list[Any], finished: Collection[str]
    ) -> None:
        super().__init__(jobs)
        self.plan, self.brokers = plan, shard_brokers
        self.steps = dict.fromkeys(finished, plan.cfg.steps)
        self.ended = len(finished)
        self.fvu: dict[str, float] = {}
        self.work = {cell.name: plan.cell_flops(cell) for cell in plan.cells}
        self.started = self.said = time.monotonic()
        self.done_before = self._work()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Note how far the trial is."""
        name = trial.config[TRIAL]
        self.steps[name] = result.get("step", self.plan.cfg.steps)
        latest = {**result, **result.get("points", [{}])[-1]}
        for key in ("train/fvu", "val/fvu"):
            self.fvu[name] = latest.get(key, self.fvu.get(name, float("nan")))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say how a trial ended, unless it was stopped."""
        job = self.job_of(trial)
        if (result := result_of(job.directory)) is None:
            return
        self.ended += 1
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
            check_ray()
            log.info("%s", self.line(trials))

    def line(self, trials: list[Any]) -> str:
        """The progress line."""
        cells, total = self.plan.cells, self.plan.cfg.steps
        running = sum(trial.status == "RUNNING" for trial in trials)
        counts = brokers.counters(self.brokers)
        shards = counts["shards_computed"] + counts["shards_from_disk"] if counts else "?"
        value, name = min(((value, name) for name, value in self.fvu.items()), default=(0.0, ""))
        fvu = f"{name} {value:.3f}" if name else ""
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
        done = sum(self.work[name] * steps / self.plan.cfg.steps for name, steps in self.steps.items())
        return done / sum(self.work.values())
