"""How long a sweep still takes: the plan's prediction, corrected by what ran. No clock and no Ray in it."""

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

from orchestrator.grid.plan import END_SECONDS, LOADING_SECONDS, SCORING_START_SECONDS, Plan

TRUST = 0.12
"""Share of a stage's predicted time that must have run before what ran counts as much as the prediction."""
MEMORY = 0.3
"""Share of a stage's predicted time after which what ran before counts e times less: machines get other work."""
UNSEEN = 0.04
"""Share of a stage's predicted time that at most is taken to be done since something was last heard of it."""
OVERDUE = 0.15
"""Share of its time so far that a trial still takes which has been scored for longer than it should have been."""


class Pace:
    """Seconds for each predicted second of one stage, `belief` at first.

    As time goes by it is the ratio of measured to predicted seconds of the work that was done, old work counting less
    (by `memory`), with `belief` as if it had been measured over a small share of the stage (TRUST).
    """

    def __init__(self, predicted: float, belief: float = 1.0, memory: float = MEMORY) -> None:
        self._stage, self._memory = max(predicted, 1e-9), memory
        self._predicted = TRUST * self._stage
        self._measured = self._predicted * belief

    def learn(self, measured: float, predicted: float) -> None:
        """Work of so many predicted seconds took so many."""
        kept = math.exp(-predicted / (self._memory * self._stage))
        self._measured = self._measured * kept + measured
        self._predicted = self._predicted * kept + predicted

    @property
    def value(self) -> float:
        """The ratio."""
        return self._measured / self._predicted


class _Heard(NamedTuple):
    """How far the training was when work was last heard of."""

    elapsed: float
    left: float
    """Predicted seconds."""
    from_disk: int
    """Shards that were there."""
    failed: int


class TimeLeft:
    """Seconds that a sweep still takes, told how far it is and how many seconds it has run; never below 0.

    Three stages follow each other, and the plan predicts each: training with the extraction beside it, scoring, the
    report. The first learns its pace from steps and shards, whatever stands between them: time before the first of
    them, in which models are loaded, is no pace, and counts against LOADING_SECONDS alone. Shards that were on disk are
    no work done. Scoring believes in the pace of the whole training until trials have been scored, each of which is one
    measurement: the last trials alone say how well the plan knew their variant, not how fast the machine is.
    """

    def __init__(self, plan: Plan, trained: Collection[str] = (), scored: Collection[str] = ()) -> None:
        self._plan = plan
        self._shard_seconds = plan.extraction_seconds / plan.total_shards
        self._whole = self._training_left(dict.fromkeys(trained, 1.0), 0)
        self._training, self._machine = Pace(self._whole), Pace(self._whole, memory=math.inf)
        self._not_to_score = set(scored)
        self._scoring = plan.scoring_left(scored)
        self._heard: _Heard | None = None
        self._made = self._from_disk = 0
        self._lanes: _Lanes | None = None

    def training(
        self, elapsed: float, done: Mapping[str, float], made: int = 0, from_disk: int = 0, failed: Collection[str] = ()
    ) -> float:
        """While trials train, of which shares `done` by name are; shards are `made`, or were there, of all models.

        Of trials that `failed` nothing is left to do.
        """
        self._made, self._from_disk = max(made, self._made), max(from_disk, self._from_disk)  # a broker may start again
        if not self._not_to_score.issuperset(failed):
            self._not_to_score |= set(failed)
            self._scoring = self._plan.scoring_left(self._not_to_score)
        left = self._training_left({**done, **dict.fromkeys(failed, 1.0)}, self._made + self._from_disk)
        now = _Heard(elapsed, left, self._from_disk, len(failed))
        start = self._learn(now)
        pace = self._training.value
        unseen = (elapsed - self._heard.elapsed) / pace if self._heard else 0.0
        left -= min(max(unseen, 0.0), UNSEEN * self._whole, left)
        return start + pace * left + self._machine.value * self._scoring + END_SECONDS

    def _learn(self, now: "_Heard") -> float:
        """Learn from what was done since work was last heard of; returns seconds until it begins."""
        before = self._heard
        if before is None:
            if now.left >= self._whole * (1 - 1e-9):
                return max(LOADING_SECONDS - now.elapsed, 0.0)
            self._heard = now  # what the first work took is unknown
        elif now.left != before.left:
            free = (now.from_disk - before.from_disk) * self._shard_seconds
            worked = before.left - now.left - free
            if worked > 0 and now.failed == before.failed and now.elapsed > before.elapsed:
                for pace in (self._training, self._machine):
                    pace.learn(now.elapsed - before.elapsed, worked)
            self._heard = now
        return 0.0

    def scoring(self, elapsed: float, running: Collection[str], waiting: Collection[str]) -> float:
        """While trials are scored, of which some are `running` and others `waiting`; 0 where there are neither."""
        if self._lanes is None:
            seconds = {cell.name: self._plan.scoring_seconds(cell) for cell in self._plan.cells}
            loading = SCORING_START_SECONDS * (self._plan.scored.latents > 0)
            self._lanes = _Lanes(seconds, loading, self._plan.concurrent, Pace(self._scoring, self._machine.value))
        return self._lanes.left(elapsed, running, waiting) + END_SECONDS * bool(running or waiting)

    def _training_left(self, done: Mapping[str, float], shards: int) -> float:
        training = self._plan.training_left(done)
        missing = max(self._plan.total_shards - shards, 0)
        return training + missing * self._shard_seconds if training else 0.0


class _Lanes:
    """Trials that are scored side by side, as if `lanes` of them could each go at full speed.

    Where more run than that they share: a trial's own seconds are what it had of a lane, not what a clock showed.
    """

    def __init__(self, seconds: Mapping[str, float], loading: float, lanes: int, pace: Pace) -> None:
        self._seconds, self._lanes, self._pace = seconds, lanes, pace
        self._unloaded = lanes + 1
        """Processes that have scored nothing yet: one more than lanes, which share them from the start."""
        self._loading = loading * lanes / (lanes + 1)
        self._now = 0.0
        self._running: dict[str, tuple[float, float]] = {}
        """Own seconds so far, and predicted ones."""

    def left(self, now: float, running: Collection[str], waiting: Collection[str]) -> float:
        """Seconds until the last ends."""
        own = max(now - self._now, 0.0) * min(1.0, self._lanes / max(len(self._running), 1))
        self._now = now
        self._running = {name: (so_far + own, predicted) for name, (so_far, predicted) in self._running.items()}
        for name in [name for name in self._running if name not in running]:
            self._pace.learn(*self._running.pop(name))
        for name in [name for name in running if name not in self._running]:
            loading = self._loading if self._unloaded > 0 else 0.0
            self._unloaded -= 1
            self._running[name] = 0.0, self._seconds[name] + loading
        pace = self._pace.value
        begun = [max(pace * predicted - so_far, OVERDUE * so_far) for so_far, predicted in self._running.values()]
        own_left = [*begun, *(pace * self._seconds[name] for name in waiting), 0.0]
        return max(sum(own_left) / self._lanes, max(own_left))
