"""The loop of one trial, without Ray."""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.training import TrainingDiverged
from orchestrator.activations.reader import ShardReader
from orchestrator.activations.shards import Shard
from orchestrator.activations.tables import open_shard, to_table
from orchestrator.grid.cells import Cell
from orchestrator.grid.config import SweepConfig
from orchestrator.storage.address import home_of
from orchestrator.storage.identity import IDENTITY_FILE
from orchestrator.trials import clock
from orchestrator.trials.checkpoints import Checkpoints
from orchestrator.trials.trial import TrialJob, end, train

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


def run(directory: Path, reports: list[dict[str, Any]], kill_at: int = 0, sweep: SweepConfig = SWEEP) -> dict[str, Any]:
    def report(metrics: dict[str, Any]) -> None:
        reports.extend(metrics["points"])
        if kill_at and metrics["step"] >= kill_at:
            raise Killed

    cell = Cell("packaged", "layers.1", 4, 4, "topk", 0, WIDTH, lr=sweep.lr[0])
    job = TrialJob(cell=cell, sweep=sweep, directory=directory, broker="", hookpoint=0, target=None, threads=1)
    return train(job, RandomReader(None, 0, True, 10.0), Checkpoints(directory), report)


def test_training_time_goes_on_where_a_killed_trial_left_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(10_000))
    monkeypatch.setattr(clock.time, "monotonic", lambda: float(next(seconds)))  # a step takes 1 s, all else time too
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


def test_a_trial_that_ended_but_for_its_report_does_not_run_again(tmp_path: Path) -> None:
    cell = Cell("packaged", "layers.1", 4, 4, "topk", 0, WIDTH, lr=SWEEP.lr[0])
    job = TrialJob(cell=cell, sweep=SWEEP, directory=tmp_path, broker="", hookpoint=0, target=None, threads=1)
    attempts: list[dict[str, Any]] = []
    reported: list[dict[str, Any]] = []

    def attempt() -> dict[str, Any]:
        points: list[dict[str, Any]] = []
        attempts.append({"failure": "as before"} if not attempts else run(tmp_path, points))
        return attempts[-1]

    def die(result: dict[str, Any]) -> None:
        raise Killed

    for report, so_far in ((die, 1), (die, 2), (reported.append, 2)):
        with contextlib.suppress(Killed):
            end(job, Checkpoints(tmp_path), attempt, report)
        assert len(attempts) == so_far, "a failure is tried again, and an end is not"
    assert reported == attempts[1:]
    assert not list(tmp_path.glob("step-*"))


def test_reports_come_at_steps_that_depend_on_the_configuration_alone(tmp_path: Path) -> None:
    steps = {}
    for every in (None, 7):
        reports: list[dict[str, Any]] = []
        run(tmp_path / str(every), reports, sweep=replace(SWEEP, log_every=every))
        steps[every] = [report["step"] for report in reports]
        for report in reports:
            assert 0 < report["data_wait_pct"] < 100
            assert report["tokens_per_second"] > 0
    assert steps[None] == list(range(1, SWEEP.steps + 1))
    assert steps[7] == [1, *range(7, SWEEP.steps, 7), SWEEP.steps]


def test_a_trial_that_diverges_says_where_it_began_and_saves_nothing(tmp_path: Path) -> None:
    reports: list[dict[str, Any]] = []
    sweep = replace(SWEEP, log_every=20, lr=(1e30,), checkpoint_every=10)
    with pytest.raises(TrainingDiverged, match=r"^loss became (nan|inf) at step [1-9]$"):
        run(tmp_path, reports, sweep=sweep)
    assert [report["step"] for report in reports] == [1]
    assert not list(tmp_path.iterdir())


def test_a_coder_that_was_there_is_not_kept_under_new_metrics(tmp_path: Path) -> None:
    (tmp_path / "coder").mkdir()
    (tmp_path / "coder" / "old").touch()
    run(tmp_path, [])
    assert {file.name for file in (tmp_path / "coder").iterdir()} == {"README.md", "cfg.json", "sae.safetensors"}


def test_a_machine_keeps_nothing_of_an_older_sweep_of_this_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "driver"))
    sweep = replace(SWEEP, storage=Path(f"file://{tmp_path}/there"), name="a")
    cell = Cell("packaged", "layers.1", 4, 4, "topk", 0, WIDTH, lr=sweep.lr[0])
    drivers = home_of(sweep.storage) / "a" / "trials" / cell.name
    drivers.mkdir(parents=True)
    jobs = []
    for identity in ("0" * 16, "1" * 16):
        (home_of(sweep.storage) / "a" / IDENTITY_FILE).write_text(identity, encoding="utf-8")
        content = TrialJob(cell, sweep, drivers, "", 0, None, 1).to_json()
        assert TrialJob.from_json(content).directory == drivers, "one copy where the driver is"
        with monkeypatch.context() as elsewhere:
            elsewhere.setenv("XDG_CACHE_HOME", str(tmp_path / "worker"))
            jobs.append(TrialJob.from_json(content))
    assert jobs[0].directory != jobs[1].directory
    assert {job.directory.is_relative_to(tmp_path / "worker") for job in jobs} == {True}
