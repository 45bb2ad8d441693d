"""The loop of one trial, without Ray."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.activations.reader import ShardReader
from orchestrator.activations.shards import Shard, open_shard
from orchestrator.activations.tables import to_table
from orchestrator.grid.cells import Cell
from orchestrator.grid.config import SweepConfig
from orchestrator.trials import trial
from orchestrator.trials.trial import TrialJob, train

SEQUENCES, LENGTH, WIDTH = 8, 32, 16
SWEEP = SweepConfig(
    train_tokens=4 * SEQUENCES * LENGTH, val_tokens=SEQUENCES * LENGTH, shard_tokens=SEQUENCES * LENGTH,
    context_length=LENGTH, batch_tokens=31, warmup_steps=2, checkpoint_every=8,
)  # fmt: skip


class RandomReader(ShardReader):
    """Shards of random activations."""

    def read(self, split: str, index: int, upcoming: list[int]) -> Shard:
        generator = torch.Generator().manual_seed(index + 100 * (split == "val"))
        values_NLD = torch.randn(SEQUENCES, LENGTH, WIDTH, generator=generator)
        table = to_table(values_NLD, np.zeros((SEQUENCES, LENGTH), dtype=np.int32), "layers.1", "float32", 0)
        return open_shard(table, exclude_first=True, massive_multiple=10.0)


class Killed(Exception):
    """As if the process had died."""


def run(directory: Path, reports: list[dict[str, Any]], kill_at: int = 0) -> dict[str, Any]:
    def report(metrics: dict[str, Any]) -> None:
        reports.append(metrics)
        if metrics["step"] == kill_at:
            raise Killed

    cell = Cell("packaged", "layers.1", 4, 4, "topk", 0, WIDTH)
    job = TrialJob(cell=cell, sweep=SWEEP, directory=directory, broker="", hookpoint=0, target=None, threads=1)
    return train(job, RandomReader(None, 0, True, 10.0), report)


def test_training_time_goes_on_where_a_killed_trial_left_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "REPORT_SECONDS", 0.0)
    seconds = iter(range(10_000))
    monkeypatch.setattr(trial.time, "monotonic", lambda: float(next(seconds)))  # a step takes 1 s, all else time too
    undisturbed: list[dict[str, Any]] = []
    expected = run(tmp_path / "undisturbed", undisturbed)
    assert [report["train_seconds"] for report in undisturbed] == [float(step + 1) for step in range(SWEEP.steps)]

    reports: list[dict[str, Any]] = []
    with pytest.raises(Killed):
        run(tmp_path / "killed", reports, kill_at=13)
    again: list[dict[str, Any]] = []
    assert run(tmp_path / "killed", again) == expected
    assert (again[0]["step"], again[0]["train_seconds"]) == (9, 9.0)
    assert again[-1]["train_seconds"] == SWEEP.steps
    assert "train_seconds" not in expected
