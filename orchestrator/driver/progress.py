"""What the person who waits is told while a sweep runs: a live table on a terminal, elsewhere a line now and then."""

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from types import TracebackType
from typing import Any

from orchestrator.driver import brokers
from orchestrator.driver.callbacks import TRIAL, DriverCallback
from orchestrator.driver.live_table import LiveTable, Row, View
from orchestrator.driver.ray_session import check_ray
from orchestrator.driver.time_left import TimeLeft
from orchestrator.grid.plan import Plan, duration
from orchestrator.trials.results import result_of
from orchestrator.trials.trial import TrialJob

LOOK_SECONDS = 2.0
"""How often shards are counted, the time left is estimated, and a table is drawn."""
LINE_SECONDS = 10.0
"""How often a line is printed where there is no table."""

log = logging.getLogger(__name__)


class Progress:
    """How far a sweep is, and telling of it; within `with` a terminal has a table. Silent where INFO is not logged."""

    def __init__(self, plan: Plan, shard_brokers: list[Any], trained: Collection[str], scored: Collection[str]) -> None:
        self.plan, self.brokers = plan, shard_brokers
        self.steps = dict.fromkeys(trained, plan.cfg.steps)
        self.points: dict[str, dict[str, Any]] = {}
        """The latest point of each trial's curves."""
        self.ended = len(trained)
        self.failed: set[str] = set()
        """Trials that ended before their last step, of which nothing is left to do."""
        self._time_left = TimeLeft(plan, trained, scored)
        self._started = self._said = self._looked = time.monotonic()
        self._table: LiveTable | None = None

    def __enter__(self) -> "Progress":
        if log.isEnabledFor(logging.INFO) and LiveTable.serves():
            self._table = LiveTable()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._table:
            self._table.close()

    def trains(self, names: Iterable[str]) -> None:
        """Tell of it where it is due; `names` are of the trials that train, and read only then. Raises LostRay."""
        if not (elapsed := self._due()):
            return
        running = list(names)
        counts = brokers.counters(self.brokers)
        made, there = counts.get("shards_computed", 0), counts.get("shards_from_disk", 0)
        again = counts.get("shards_again", 0)
        made = max(0, made - again)  # one that is being made a second time counts as such from its beginning
        shares = {name: steps / self.plan.cfg.steps for name, steps in self.steps.items()}
        left = f"{duration(self._time_left.training(elapsed, shares, made, there, self.failed))} left"
        trials = f"trials {self.ended}/{len(self.plan.cells)} done, {len(running)} running"
        steps = f"steps {sum(self.steps.values())}/{self.plan.cfg.steps * len(self.plan.cells)}"
        shards = f"shards {made + there if counts else '?'}/{self.plan.total_shards}"
        shards += f" and {again} again" if again else ""
        store = f"store {counts.get('shards_kept_bytes', 0) / 1e9:.2f} GB"
        below = (f"{shards} | {store}", f"{trials} | {steps} | {duration(elapsed)} so far | {left}")
        self._tell(View([self._row(name) for name in running], below), f"{trials} | {steps} | {shards} | {left}")

    def scores(self, scored: int, running: Collection[str], waiting: Collection[str]) -> None:
        """The same while trials are scored: so many are, some are `running`, others `waiting`. Raises LostRay."""
        if not (elapsed := self._due()):
            return
        left = duration(self._time_left.scoring(elapsed, running, waiting))
        line = f"scored {scored}/{scored + len(running) + len(waiting)} trials"
        self._tell(
            View([], [f"{line}, {len(running)} at a time | {duration(elapsed)} so far | {left} left"]),
            f"{line} | {left} left",
        )

    def _due(self) -> float:
        """Seconds since the beginning where it is time to look again, else 0."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return 0.0
        self._looked = now
        return now - self._started

    def _tell(self, view: View, line: str) -> None:
        if self._table:
            self._table.show(view)
        if self._looked - self._said >= LINE_SECONDS:
            self._said = self._looked
            check_ray()
            if not self._table:
                log.info("%s", line)

    def _row(self, name: str) -> Row:
        point, step, steps = self.points.get(name, {}), self.steps.get(name, 0), self.plan.cfg.steps
        speed = point.get("tokens_per_second")
        left = (steps - step) * self.plan.cfg.batch_tokens / speed if speed else None
        return Row(name, step, steps, point.get("train/fvu"), speed, point.get("data_wait_pct"), left)


class Watching(DriverCallback):
    """Tells the progress of what Ray Tune says of trials, and the log how they end."""

    def __init__(self, jobs: Mapping[str, TrialJob], progress: Progress) -> None:
        super().__init__(jobs)
        self.progress = progress

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Note how far the trial is."""
        name = trial.config[TRIAL]
        if "step" in result:
            self.progress.steps[name] = result["step"]
        if points := result.get("points"):
            self.progress.points[name] = points[-1]

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say how a trial ended, unless it was stopped."""
        job = self.job_of(trial)
        if (result := result_of(job.directory)) is None:
            return
        self.progress.ended += 1
        if "failure" in result:
            self.progress.failed.add(job.cell.name)
            log.warning("trial %s failed: %s", job.cell.name, result["failure"])
        else:
            log.info("trial %s: held-out FVU %.4f", job.cell.name, result["val/fvu"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Count a trial that died for good; `Tracking` says why."""
        self.progress.ended += 1
        self.progress.failed.add(trial.config[TRIAL])

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tell of it where it is due."""
        self.progress.trains(trial.config[TRIAL] for trial in trials if trial.status == "RUNNING")
