"""What the seeds share, where what computes it is lost."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from orchestrator.driver.interruption import Interruption
from orchestrator.driver.seeds import METRIC, share_by_seeds
from orchestrator.grid.cells import Cell
from orchestrator.scores.protocol import LATENTS
from orchestrator.trials.results import figures_of, keep_scores
from orchestrator.trials.trial import TrialJob
from tests.support.configs import small


@pytest.mark.parametrize(
    "lost",
    [ray.exceptions.WorkerCrashedError(), ray.exceptions.OutOfMemoryError("memory"), OSError("a disk")],
    ids=repr,
)
def test_a_lost_process_costs_a_metric_and_not_the_sweep(
    lost: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cell = Cell("packaged", "layers.1", 4, 4, "topk", 0, 16, lr=1e-3)
    cells = {"a": cell, "b": replace(cell, seed=1)}
    jobs = [TrialJob(cell, small(), tmp_path / name, "", 0, None, 1) for name, cell in cells.items()]
    for job in jobs:
        keep_scores(job.directory, {"metrics": {LATENTS: 1.0}, "times": 1})

    def get(reference: object) -> Any:
        raise lost

    monkeypatch.setattr(ray, "remote", lambda function: SimpleNamespace(remote=lambda content: "reference"))
    monkeypatch.setattr(ray, "wait", lambda references, timeout: (references, []))
    monkeypatch.setattr(ray, "get", get)
    share_by_seeds(jobs, Interruption(), lambda job: pytest.fail("there is nothing to tell"))
    (said,) = caplog.messages
    assert METRIC in said and all(job.cell.name in said for job in jobs)
    assert [figures_of(job.directory) for job in jobs] == [{LATENTS: 1.0}] * 2
