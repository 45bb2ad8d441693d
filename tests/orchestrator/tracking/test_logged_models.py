"""Coders as MLflow's logged models, and the datasets that they and runs are measured on."""

import json
import logging
import math
import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelStatus, Run

from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.datasets import EVALUATION, TRAINING, both_splits
from orchestrator.tracking.endings import log_result
from orchestrator.tracking.tracker import Tracker
from orchestrator.trials.results import CODER_DIRECTORY
from tests.support.coders import make_coder
from tests.support.gateway import gateway
from tests.support.mlflow_runs import EXPERIMENT, REPOSITORY, SWEEP, open_tracker, runs, steps
from tests.support.mlflow_server import Server
from tests.support.waiting import wait_until

DOCS = (REPOSITORY / "docs" / "mlflow.md").read_text(encoding="utf-8")
FINGERPRINT = "0123456789abcdef" * 2
TEXT = both_splits("python-docs", FINGERPRINT, "code", {"tags": {}}, {TRAINING: {"tokens": 9}, EVALUATION: {}})
FVU = {"m-layers.10-topk-k16": 0.5, "m-layers.10-mp-k16": 0.25, "m-layers.10-ito-k16": 0.75}
BEST = "m-layers_10-mp-k16"


def log_all(tracker: Tracker, fvu: dict[str, float] = FVU) -> None:
    """A sweep whose trials have ended, as `endings.log_result` and `log_scores` tell of it."""
    tracker.start_sweep({"model": "m"}, {}, {}, TEXT)
    for trial, value in fvu.items():
        tracker.start_trial(trial, {"k": 16, "variant": trial.split("-")[2]}, {}, TEXT)
        tracker.log_metrics(trial, {"dead_pct": 2.0, "lr": 0.1}, 9)
        tracker.log_metrics(trial, {"val/fvu": value, "l0": 16.0, "dead_pct": 1.0, "odd": math.nan}, 10)
        tracker.log_model(trial, ["val/fvu", "l0", "dead_pct", "odd"])
        tracker.end_trial(trial)


def models(uri: str, filter_string: str | None = None) -> list[LoggedModel]:
    """Of the experiment, the best first."""
    client = MlflowClient(uri)
    best_first = [{"field_name": "metrics.val/fvu", "ascending": True}]
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    return list(client.search_logged_models([experiment], filter_string, order_by=best_first))


def inputs(run: Run) -> set[tuple[str, str, str]]:
    """Name, digest and context of every dataset of a run; fails if one is there twice."""
    found = [(each.dataset.name, each.dataset.digest, *(tag.value for tag in each.tags))
             for each in run.inputs.dataset_inputs]  # fmt: skip
    assert len(set(found)) == len(found)
    return set(found)


def test_the_best_coder_of_a_sweep_is_one_search(storage: Path) -> None:
    tracker = open_tracker(storage)
    log_all(tracker)
    assert tracker.finish() == 0
    other = Tracker(None, EXPERIMENT, "another", storage, storage / "another")
    log_all(other, {"m-layers.10-best-k16": 0.125})
    assert other.finish() == 0

    uri = default_uri(storage)
    found = models(uri, f"tags.`sweep.journal` = '{tracker._journal.id}'")
    assert [model.name for model in found] == [BEST, "m-layers_10-topk-k16", "m-layers_10-ito-k16"]
    best, run = found[0], runs_of_sweep(uri, tracker)["m-layers.10-mp-k16"]
    assert (best.source_run_id, best.status) == (run.info.run_id, LoggedModelStatus.READY)
    assert best.params == run.data.params == {"k": "16", "variant": "mp"}
    assert best.tags["sweep.name"] == SWEEP
    assert best.tags["checkpoint"] == f"runs:/{run.info.run_id}/checkpoint"
    on = {(metric.dataset_name, metric.dataset_digest) for metric in best.metrics}
    assert on == {("python-docs", f"{FINGERPRINT}-val")}
    assert {metric.key: metric.value for metric in best.metrics} == {"val/fvu": 0.25, "l0": 16.0, "dead_pct": 1.0}
    assert [output.model_id for output in run.outputs.model_outputs] == [best.model_id]


def test_the_search_of_the_docs_loads_the_best_coder(storage: Path) -> None:
    better, worse = (make_coder(variant="topk", k=k, seed=k) for k in (3, 4))
    tracker = Tracker(None, EXPERIMENT, "another", storage, storage / "another" / "tracking")
    tracker.start_sweep({}, {}, {})
    for name, coder, fvu in (("worse", worse, 0.5), ("better", better, 0.25)):
        directory = storage / "another" / name
        coder.save_to_disk(directory / CODER_DIRECTORY)
        tracker.start_trial(name, {}, {}, TEXT)
        log_result(tracker, name, directory, {"val/fvu": fvu, "step": 3})
    assert tracker.finish() == 0
    (shown,) = re.findall(r"(?:^    .*\n|^\n)+", DOCS[DOCS.index("    from mlflow import") :], re.MULTILINE)[:1]
    for word, ours in {
        "runs/mlflow.db": str(storage / "mlflow.db"),
        "smollm_grid": EXPERIMENT,
        "NAME": "another",
    }.items():
        shown = shown.replace(word, ours)
    found: dict[str, Any] = {}
    exec(textwrap.dedent(shown), found)
    assert (found["best"].name, [model.name for model in found["others"]]) == ("better", ["worse"])
    assert found["coder"].cfg == better.cfg
    assert torch.equal(found["coder"].W_dec, better.W_dec)


def runs_of_sweep(uri: str, tracker: Tracker) -> dict[str, Run]:
    ours = f"tags.`sweep.journal` = '{tracker._journal.id}'"
    client = MlflowClient(uri)
    found = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id], ours)
    return {run.info.run_name: run for run in found}


def test_a_score_that_comes_later_is_the_same_model_s(storage: Path) -> None:
    log = ["val/fvu", "autointerp/x/mean"]
    for session in range(3):
        tracker = open_tracker(storage)
        log_all(tracker)
        if session:
            tracker.log_metrics("m-layers.10-mp-k16", {"autointerp/x/mean": session / 4}, 10 + session)
            tracker.log_model("m-layers.10-mp-k16", log)
        assert tracker.finish() == 0
    found = models(default_uri(storage))
    assert len(found) == 3
    scores = [(metric.step, metric.value) for metric in found[0].metrics if metric.key == "autointerp/x/mean"]
    assert sorted(scores) == [(11, 0.25), (12, 0.5)]
    journal = (storage / "journal" / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum(json.loads(line)["op"] == "model" for line in journal) == 3 + 2


def test_entries_that_are_sent_again_double_nothing(storage: Path) -> None:
    uri = default_uri(storage)
    for _ in range(2):
        tracker = open_tracker(storage)
        log_all(tracker)
        assert tracker.finish() == 0
        (storage / "journal" / "state.json").unlink()
    assert len(models(uri)) == 3
    for name, run in runs(uri).items():
        assert inputs(run) == {
            ("python-docs", FINGERPRINT, TRAINING), ("python-docs", f"{FINGERPRINT}-val", EVALUATION)
        }  # fmt: skip
        if name != SWEEP:
            assert len(run.outputs.model_outputs) == 1
            assert (steps(uri, run, "val/fvu"), steps(uri, run, "dead_pct")) == ([10], [9, 10])
    assert [len(model.metrics) for model in models(uri)] == [3, 3, 3]


def test_a_model_that_a_crash_left_half_made_is_finished(storage: Path) -> None:
    uri, trial = default_uri(storage), "m-layers.10-mp-k16"
    tracker = open_tracker(storage)
    tracker.start_trial(trial, {"k": 16}, {}, TEXT)
    tracker.log_metrics(trial, {"val/fvu": 0.25}, 10)
    wait_until(lambda: tracker._journal.unsent() == 0)
    run = runs(uri)[trial]
    made = MlflowClient(uri).create_logged_model(run.info.experiment_id, "half", run.info.run_id)
    tracker.log_model(trial, ["val/fvu"])
    assert tracker.finish() == 0
    (model,) = models(uri)
    assert (model.model_id, model.status) == (made.model_id, LoggedModelStatus.READY)
    assert [output.model_id for output in runs(uri)[trial].outputs.model_outputs] == [made.model_id]
    assert [(metric.key, metric.value) for metric in model.metrics] == [("val/fvu", 0.25)]


def test_a_name_longer_than_mlflow_takes_keeps_its_end() -> None:
    training, evaluation = both_splits("/a" * 300 + "/end", FINGERPRINT, "local", {}, {TRAINING: {}, EVALUATION: {}})
    assert len(training.name) == 500 and training.name.endswith("/a/end")
    assert len(evaluation.digest) == 36


def test_a_server_without_logged_models_gets_everything_else(
    tmp_path: Path, empty_store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As MLflow 2 answers: what it has no address for is not found."""
    (tmp_path / "server").mkdir()
    shutil.copy(empty_store, tmp_path / "server" / "mlflow.db")
    server = Server(tmp_path / "server")
    server.start()
    try:
        wait_until(server.answers, "MLflow's server")
        with gateway(server.uri, "/logged-models") as older:
            tracker = open_tracker(tmp_path, older)
            log_all(tracker)
            assert tracker.finish() == 0
        found = runs(server.uri)
        assert {name: run.data.metrics["val/fvu"] for name, run in found.items() if name != SWEEP} == FVU
        assert {run.info.status for run in found.values()} == {"FINISHED"}
        assert all(len(inputs(run)) == 2 for run in found.values())
        assert models(server.uri) == []
    finally:
        server.kill()
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1 and "has no logged models" in warnings[0]
