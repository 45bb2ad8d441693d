"""What tests of orchestrator/figures and orchestrator/comparison share."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.grid.config import AXES
from orchestrator.tracking.records import TrialRecord
from orchestrator.tracking.tracker import Tracker

CENTRE = {"topk": 0.4, "mp": 0.3, "mp-tied": 0.35}


STEPS = [1, 50, 100]


def fvu_of(k: int, variant: str, seed: int) -> float:
    return CENTRE.get(variant, 0.2) - k / 1000 + seed / 100


def record(**given: Any) -> TrialRecord:
    axes: dict[str, Any] = {
        "model": "m/a",
        "hookpoint": "layers.1",
        "k": 16,
        "expansion_factor": 8,
        "variant": "topk",
        "seed": 0,
    }
    axes |= given
    fvu = fvu_of(axes["k"], axes["variant"], axes["seed"])
    history = {
        "train/fvu": [(step, fvu + 1 / step) for step in STEPS],
        "dead_pct": [(step, step / 10 + axes["seed"]) for step in STEPS],
        "train_seconds": [(step, step * axes["k"] / 16 + axes["seed"]) for step in STEPS],
        "val/fvu": [(100, fvu)],
    }
    return TrialRecord(**axes, metrics={key: points[-1][1] for key, points in history.items()}, history=history)


def grid(**axes: tuple[Any, ...]) -> list[TrialRecord]:
    return [record(**dict(zip(axes, values, strict=True))) for values in itertools.product(*axes.values())]


SWEEP = "night's run"
TRIALS = {
    f"{hookpoint}-{variant}-{seed}": (hookpoint, variant, seed)
    for hookpoint, variant, seed in itertools.product(("layers.10", "layers.9"), ("mp", "mp-tied"), (1, 0))
}
"""Hookpoint, variant and seed of what `log_sweep` logs, by name."""


def log_sweep(storage: Path, uri: str | None = None, journal: str = "journal", finish_s: float = 60) -> None:
    """A sweep of two variants, two hookpoints and two seeds, of which one trial fails."""
    tracker = Tracker(uri, "grid", SWEEP, storage, storage / journal)
    tracker.start_sweep({"variant": ("mp-tied", "mp"), "k": (16,)}, {"host": "h"}, {})
    for name, (hookpoint, variant, seed) in TRIALS.items():
        axes = {"model": "m", "hookpoint": hookpoint, "k": 16, "expansion_factor": 8, "variant": variant, "seed": seed}
        tracker.start_trial(name, {axis: axes[axis] for axis in AXES}, {"host": "h"})
        for step in (1, 7, 20):
            tracker.log_metrics(name, {"train/fvu": 1 / step + seed, "dead_pct": math.nan if step < 5 else 0.5}, step)
        if name == "layers.9-mp-0":
            tracker.end_trial(name, failure="NaN")
        else:
            tracker.log_metrics(name, {"val/fvu": fvu_of(16, variant, seed), "l0": 16.0, "odd": math.inf}, 20)
            tracker.end_trial(name)
    tracker.log_metrics(None, {"shards_computed": 3}, 1)
    tracker.finish(timeout_s=finish_s)


def log_trials(
    storage: Path,
    sweep: str,
    trials: Sequence[TrialRecord],
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """A sweep of these trials; one without held-out FVU fails. `params` and `tags` are those of its own run."""
    tracker = Tracker(None, "grid", sweep, storage, storage / f"journal-{len([*storage.iterdir()])}")
    tracker.start_sweep({"variant": tuple({trial.variant: None for trial in trials}), **(params or {})}, tags or {}, {})
    for number, trial in enumerate(trials):
        name = f"{number}-{trial.variant}-{trial.seed}"
        tracker.start_trial(name, {axis: getattr(trial, axis) for axis in AXES} | trial.settings, {})
        tracker.log_metrics(name, trial.metrics, 20)
        tracker.end_trial(name, failure=None if "val/fvu" in trial.metrics else "NaN")
    assert tracker.finish() == 0
