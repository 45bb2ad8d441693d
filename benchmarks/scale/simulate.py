"""The trials of a grid on a simulated cluster, event by event: a trial's reader asks, waits, fetches; its GPU trains.

A reader keeps `AHEAD` shards ready beside the one being trained on and announces the next `PREFETCH`, as
`orchestrator/activations/stream.py` does. Nothing here depends on wall-clock time: a seed decides everything.
"""

import heapq
import random
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from benchmarks.scale.cluster import Layout, Store
from benchmarks.scale.parts import Line, Stored
from benchmarks.scale.rates import Rates
from benchmarks.scale.workload import VAL_SHARE, Work, Workload
from orchestrator.activations.shards import PREFETCH
from orchestrator.activations.stream import AHEAD

Orders = Literal["seed", "shared"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may go otherwise than planned, and how the sweep may be changed."""

    seed: int = 0
    orders: Orders = "seed"
    """seed: each seed reads shards in an order of its own, as trials do. shared: all trials read in one order."""
    budget: float | None = None
    """Bytes that the broker keeps, half of all object stores unless given."""
    losses_per_node_hour: float = 0.0
    """Of spot machines."""
    replacement_seconds: float = 600.0
    """Until a lost node is there again."""
    checkpoint_shards: int = 200
    """Shards between checkpoints of a trial."""


@dataclass
class Running:
    """A trial on its GPU."""

    work: Work
    slot: int
    order: list[int]
    life: int = 0
    """Events of earlier lives, before a node was lost, mean nothing."""
    position: int = 0
    """Of the shard asked for next."""
    began: deque[float] = field(default_factory=lambda: deque([0.0] * AHEAD, AHEAD))
    """When the training of the last shards began."""
    ends: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=AHEAD + 2))
    """Positions and times at which the training of the last shards is done."""
    free: float = 0.0
    """When its GPU has trained on all that it was given."""


@dataclass(frozen=True)
class Delays:
    """When a shard was asked for, when the broker answered, when it was computed: what its reader waited for."""

    asked: float
    answered: float
    fetched: float
    spilled: bool

    def causes(self, arrival: float, wait: float) -> dict[str, float]:
        """A wait that ended with its arrival, by what it was for; the last cause first."""
        parts = {
            "disk" if self.spilled else "network": arrival - self.fetched,
            "extraction": self.fetched - self.answered,
            "broker": self.answered - self.asked,
        }
        causes = {}
        for cause, seconds in parts.items():
            causes[cause] = min(wait, seconds)
            wait -= causes[cause]
        return causes | {"reading ahead": wait}


@dataclass
class Totals:
    """What came of it."""

    seconds: float = 0.0
    trained: int = 0
    """Shards, those again after a loss among them."""
    repeated: int = 0
    """Shards trained on again."""
    busy: float = 0.0
    waited: float = 0.0
    started: float = 0.0
    down: float = 0.0
    """GPU seconds of trials: training and scoring, waiting for shards, starting, on a node that was lost."""
    causes: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """What was waited for, GPU seconds."""
    calls: int = 0
    losses: int = 0


class Simulation:
    """One sweep on one cluster; `run` gives its totals, `store` and `driver` have the rest."""

    def __init__(self, where: Layout, work: Workload, rates: Rates, options: Options) -> None:
        self.where, self.work, self.rates, self.options = where, work, rates, options
        self.store = Store(where, work, rates, options.budget, options.seed)
        self.driver = Line()
        self.totals = Totals()
        self.left = deque(work.trials)
        self.running: dict[int, Running] = {}
        self.random = random.Random(options.seed + 1)
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._number = 0
        self._orders: dict[int, list[int]] = {}
        self._upcoming_val = [
            list(range(i + 1, min(i + 1 + PREFETCH, work.val_shards))) for i in range(work.val_shards)
        ]

    def run(self) -> Totals:
        """Until the last trial has ended."""
        for slot in range(len(self.where.slots)):
            self._next_trial(slot, 0.0, self.rates["trial_start_seconds"])
        for node in range(self.where.nodes):
            self._plan_loss(node, 0.0)
        while self._events and (self.running or self.left):
            now, _, action = heapq.heappop(self._events)
            action(now)
        return self.totals

    def _at(self, time: float, action: Callable[[float], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (time, self._number, action))

    def _alive(self, trial: Running, action: Callable[[float], None]) -> Callable[[float], None]:
        life = trial.life
        return lambda now: action(now) if trial.life == life else None

    def _next_trial(self, slot: int, now: float, start_seconds: float) -> None:
        self.running.pop(slot, None)
        if not self.left:
            self.totals.seconds = max(self.totals.seconds, now)
            return
        work = self.left.popleft()
        seed = work.seed if self.options.orders == "seed" else 0
        if seed not in self._orders:
            self._orders[seed] = np.random.default_rng([seed, 0]).permutation(self.work.shards).tolist()
        trial = self.running[slot] = Running(work, slot, self._orders[seed])
        self._start(trial, now, start_seconds)

    def _start(self, trial: Running, now: float, seconds: float) -> None:
        begun = self.driver.serve(now, self.rates["driver_trial_seconds"]) + seconds
        self.totals.started += begun - now
        trial.free = begun
        trial.began.extend([begun] * AHEAD)
        trial.ends.clear()
        self._at(begun, self._alive(trial, lambda now: self._go_on(trial, now)))

    def _go_on(self, trial: Running, now: float) -> None:
        if trial.position < self.work.shards:
            self._ask(trial, now)
        else:
            self._score(trial, max(now, trial.free), 0)

    def _ask(self, trial: Running, now: float) -> None:
        position = trial.position
        upcoming = trial.order[position + 1 : position + 1 + PREFETCH]
        stored, answer = self.store.ask(now, "train", trial.order[position], upcoming)
        self.totals.calls += 1
        self._when_ready(trial, stored, answer, (now, answer), lambda *arrived: self._train(trial, *arrived))

    def _when_ready(
        self,
        trial: Running,
        stored: Stored,
        now: float,
        asked: tuple[float, float],
        then: Callable[[float, Delays], None],
    ) -> None:
        """Fetch a shard once it is computed; a loss may have put that off, or made it necessary again."""
        if stored.lost:
            self.store.rebuild(stored, now)
        if stored.ready > now:
            again = self._alive(trial, lambda now: self._when_ready(trial, stored, now, asked, then))
            self._at(stored.ready, again)
            return
        delays = Delays(*asked, now, stored.spilled)
        then(self.store.fetch(stored, trial.work.hookpoint, self.where.slots[trial.slot], now), delays)

    def _wait(self, delays: Delays, arrival: float, wait: float) -> None:
        self.totals.waited += wait
        for cause, seconds in delays.causes(arrival, wait).items():
            self.totals.causes[cause] += seconds

    def _train(self, trial: Running, arrival: float, delays: Delays) -> None:
        begins = max(trial.free, arrival)
        if begins > trial.free:
            self._wait(delays, arrival, begins - trial.free)
        self.totals.busy += trial.work.shard_seconds
        self.totals.trained += 1
        trial.free = begins + trial.work.shard_seconds
        trial.ends.append((trial.position, trial.free))
        room = trial.began[0] if AHEAD > 1 else begins  # the reader makes one more when the GPU has taken one
        trial.began.append(begins)
        trial.position += 1
        due = max(arrival, room) if trial.position < self.work.shards else trial.free
        self._at(due, self._alive(trial, lambda now: self._go_on(trial, now)))

    def _score(self, trial: Running, now: float, index: int) -> None:
        if index == self.work.val_shards:
            self._next_trial(trial.slot, now, self.rates["trial_change_seconds"])
            return
        stored, answer = self.store.ask(now, "val", index, self._upcoming_val[index])
        self.totals.calls += 1

        def score(arrival: float, delays: Delays) -> None:
            seconds = VAL_SHARE * trial.work.shard_seconds
            self._wait(delays, arrival, arrival - now)
            self.totals.busy += seconds
            self._at(arrival + seconds, self._alive(trial, lambda now: self._score(trial, now, index + 1)))

        self._when_ready(trial, stored, answer, (now, answer), score)

    def _plan_loss(self, node: int, now: float) -> None:
        if self.options.losses_per_node_hour > 0:
            wait = self.random.expovariate(self.options.losses_per_node_hour / 3600)
            self._at(now + wait, lambda now: self._lose(node, now))

    def _lose(self, node: int, now: float) -> None:
        back = now + self.options.replacement_seconds
        self.totals.losses += 1
        self.store.lose(node, now, back)
        for slot, trial in self.running.items():
            if self.where.slots[slot] == node:
                self._set_back(trial, now, back)
        self._plan_loss(node, back)

    def _set_back(self, trial: Running, now: float, back: float) -> None:
        """To its last checkpoint, from which it starts when the node is back."""
        undone = [(position, end) for position, end in trial.ends if end > now]
        trained = min((position for position, _ in undone), default=trial.position)
        every = self.options.checkpoint_shards
        kept = trained if trained == self.work.shards else trained // every * every
        self.totals.repeated += trial.position - kept
        self.totals.busy -= sum(min(end - now, trial.work.shard_seconds) for _, end in undone)
        self.totals.down += back - now
        trial.position, trial.life = kept, trial.life + 1
        start = self.rates["trial_start_seconds"]
        self._at(back, self._alive(trial, lambda now: self._start(trial, now, start)))
