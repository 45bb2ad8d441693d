"""The MLflow writer against real MLflow: SQLite files and a real server that comes, goes and comes back."""

import json
import math
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from mlflow import MlflowClient

from orchestrator.errors import UserError
from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.tracker import Tracker
from tests.support.mlflow_runs import EXPERIMENT, REPOSITORY, SWEEP, open_tracker, runs, steps
from tests.support.waiting import wait_until


def test_a_sweep_is_a_parent_with_a_child_per_trial(storage: Path) -> None:
    figures = storage / "figures"
    figures.mkdir()
    (figures / "fvu.txt").write_text("figure", encoding="utf-8")
    tracker = open_tracker(storage)
    assert tracker.comparison_url() is None
    tracker.start_sweep({"model": "m"}, {"host": "h"}, {"k": [16, 32], "path": Path("/data"), "limit": math.inf})
    for trial in ("mp", "topk"):
        tracker.start_trial(trial, {"variant": trial, "k": 16}, {"colour": "red"})
        tracker.log_metrics(trial, {"train/fvu": 0.5, "val/fvu": math.nan}, step=10)
        tracker.log_metrics(trial, {"train/fvu": 0.25}, step=20)
    tracker.log_metrics(None, {"trials_done": 2}, step=0)
    tracker.log_params(None, {"note": "late"})
    tracker.log_artifacts(None, figures, "figures")
    tracker.log_artifacts("mp", figures / "fvu.txt")
    tracker.end_trial("mp")
    tracker.end_trial("topk", failure="x" * 9000)
    assert tracker.finish() == 0

    uri = default_uri(storage)
    found = runs(uri)
    assert set(found) == {SWEEP, "mp", "topk"}
    parent, mp, topk = found[SWEEP], found["mp"], found["topk"]
    assert parent.info.status == mp.info.status == "FINISHED"
    assert topk.info.status == "FAILED"
    assert topk.data.tags["failure_reason"] == "x" * 5000
    assert mp.data.tags["mlflow.parentRunId"] == topk.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert "mlflow.parentRunId" not in parent.data.tags
    assert parent.data.params == {"model": "m", "note": "late"}
    assert mp.data.params == {"variant": "mp", "k": "16"}
    assert (parent.data.tags["host"], mp.data.tags["colour"]) == ("h", "red")
    assert parent.data.metrics == {"trials_done": 2}
    assert mp.data.metrics["train/fvu"] == 0.25
    assert math.isnan(mp.data.metrics["val/fvu"])
    assert steps(uri, mp, "train/fvu") == [10, 20]
    assert all(run.info.artifact_uri.startswith((storage / "mlartifacts").as_uri()) for run in found.values())
    artifacts = storage / "mlartifacts" / parent.info.run_id / "artifacts"
    assert json.loads((artifacts / "config.json").read_text(encoding="utf-8")) == {
        "k": [16, 32],
        "path": "/data",
        "limit": math.inf,
    }
    assert (artifacts / "figures" / "fvu.txt").read_text(encoding="utf-8") == "figure"
    assert (storage / "mlartifacts" / mp.info.run_id / "artifacts" / "fvu.txt").read_text(encoding="utf-8") == "figure"


def test_an_older_mlflow_is_given_every_trial_and_the_experiment(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.tracking.tracker.SINCE", (99, 0))
    tracker = open_tracker(storage)
    for trial in ("a", "b"):
        tracker.start_trial(trial, {}, {})
    tracker.finish()
    url = tracker.comparison_url("http://example.org:1/")
    assert url is not None and url.startswith("http://example.org:1/#/compare-runs?")
    assert re.fullmatch(r"[!-~]+", url) and '"' not in url
    found = runs(default_uri(storage))
    query = parse_qs(urlsplit(url).fragment.partition("?")[2])
    assert json.loads(query["runs"][0]) == [found["a"].info.run_id, found["b"].info.run_id]
    assert json.loads(query["experiments"][0]) == [found["a"].info.experiment_id]


def test_a_sweep_keeps_the_command_it_began_with(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (["sweep.py", "--k", "16"], ["sweep.py", "--resume", "it"]):
        monkeypatch.setattr(sys, "argv", words)
        tracker = open_tracker(storage)
        tracker.start_sweep({}, {}, {})
        tracker.describe(None, f"# Made by `{tracker.command}`")
        assert tracker.finish() == 0
    tags = runs(default_uri(storage))[SWEEP].data.tags
    assert tags["command"] == "python sweep.py --k 16"
    assert tags["mlflow.note.content"] == "# Made by `python sweep.py --k 16`"


KILLED_SWEEP = """
import os, signal, sys, time
from pathlib import Path
from orchestrator.tracking.tracker import Tracker
storage = Path(sys.argv[1])
tracker = Tracker(None, "grid", "night's run", storage, storage / "journal")
tracker.start_sweep({"model": "m"}, {}, {})
tracker.start_trial("mp", {"k": 16}, {})
for step in range(40):
    tracker.log_metrics("mp", {"fvu": 1 / (step + 1)}, step)
    if step == 20:
        while tracker.comparison_url() is None:
            time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_sweep_continues_its_runs_without_repeating_a_point(storage: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_SWEEP, str(storage)], cwd=REPOSITORY, check=False)
    assert killed.returncode == -signal.SIGKILL
    uri = default_uri(storage)
    before = runs(uri)

    tracker = open_tracker(storage)
    tracker.start_sweep({"model": "m"}, {}, {})
    tracker.start_trial("mp", {"k": 16}, {})
    for step in range(30, 50):  # restored from the checkpoint of step 29
        tracker.log_metrics("mp", {"fvu": 0.5, "late": 0.5}, step)
    tracker.end_trial("mp")
    assert tracker.finish() == 0

    after = runs(uri)
    assert {name: run.info.run_id for name, run in after.items()} == {n: r.info.run_id for n, r in before.items()}
    assert steps(uri, after["mp"], "fvu") == list(range(50))
    assert steps(uri, after["mp"], "late") == list(range(30, 50))
    assert after["mp"].info.status == after[SWEEP].info.status == "FINISHED"


def test_a_resumed_sweep_goes_on_with_what_its_machine_does(storage: Path) -> None:
    """At steps after those of the sessions before it, however short they were."""
    tracker = open_tracker(storage)
    tracker.log_system_metrics({"cpu_utilization_percentage": 50.0})
    assert tracker.finish() == 0
    path = storage / "journal" / "journal.jsonl"
    first, *others = path.read_text(encoding="utf-8").splitlines()
    an_hour_ago = json.loads(first) | {"t": json.loads(first)["t"] - 3_600_000}
    path.write_text("".join(f"{line}\n" for line in (json.dumps(an_hour_ago), *others)), encoding="utf-8")
    (storage / "journal" / "state.json").unlink()

    tracker = open_tracker(storage)
    tracker.log_system_metrics({"cpu_utilization_percentage": 75.0})
    assert tracker.finish() == 0
    uri = default_uri(storage)
    sweep = runs(uri)[SWEEP]
    first_step, second_step = steps(uri, sweep, "system/cpu_utilization_percentage")
    assert first_step < 3600 <= second_step
    assert sweep.data.metrics == {"system/cpu_utilization_percentage": 75.0}


def test_what_the_machine_does_is_logged_while_a_clock_that_was_set_back_is_behind(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.time_ns(), time.monotonic_ns()
    passed = {"wall": 0, "running": 0}
    monkeypatch.setattr(time, "time_ns", lambda: began[0] + passed["wall"] * 10**9)
    monkeypatch.setattr(time, "monotonic_ns", lambda: began[1] + passed["running"] * 10**9)
    tracker = open_tracker(storage)
    for wall, running in ((0, 0), (10, 10), (-3580, 20), (-3570, 30)):
        passed.update(wall=wall, running=running)
        tracker.log_system_metrics({"cpu_utilization_percentage": 50.0})
    assert tracker.finish() == 0
    uri = default_uri(storage)
    assert steps(uri, runs(uri)[SWEEP], "system/cpu_utilization_percentage") == [0, 10, 20, 30]


@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_runs_are_found_again_when_their_creation_was_never_noted(storage: Path, damage: str) -> None:
    tracker = open_tracker(storage)
    tracker.start_trial("mp", {"k": 16}, {})
    tracker.log_metrics("mp", {"fvu": 0.5}, step=1)
    tracker.finish()
    state = storage / "journal" / "state.json"
    state.unlink() if damage == "missing" else state.write_text("", encoding="utf-8")

    tracker = open_tracker(storage)
    tracker.log_metrics("mp", {"fvu": 0.25}, step=2)
    assert tracker.finish() == 0
    found = runs(default_uri(storage))
    assert set(found) == {SWEEP, "mp"}
    assert steps(default_uri(storage), found["mp"], "fvu") == [1, 2]


def test_sweeps_of_one_name_do_not_share_runs(storage: Path) -> None:
    for journal in ("one", "two"):
        tracker = Tracker(None, EXPERIMENT, SWEEP, storage, storage / journal)
        tracker.start_trial(f"{journal}/mp", {}, {})
        assert tracker.finish() == 0
    client = MlflowClient(tracking_uri=default_uri(storage))
    assert len(client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])) == 4


def test_a_failed_trial_that_is_taken_up_again_loses_its_failure(storage: Path) -> None:
    tracker = open_tracker(storage)
    tracker.start_trial("mp", {}, {})
    tracker.end_trial("mp", failure="out of memory")
    tracker.finish("KILLED")
    assert runs(default_uri(storage))[SWEEP].info.status == "KILLED"

    tracker = open_tracker(storage)
    tracker.start_sweep({}, {}, {})
    tracker.start_trial("mp", {}, {})
    wait_until(lambda: tracker._journal.unsent() == 0)
    reopened = runs(default_uri(storage))
    assert reopened["mp"].info.status == reopened[SWEEP].info.status == "RUNNING"
    tracker.end_trial("mp")
    tracker.finish()
    run = runs(default_uri(storage))["mp"]
    assert run.info.status == "FINISHED"
    assert "failure_reason" not in run.data.tags


def test_credentials_reach_neither_disk_nor_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as unanswering:  # bound but not listening: connections are refused
        unanswering.bind(("127.0.0.1", 0))
        uri = f"http://user:hunter2@127.0.0.1:{unanswering.getsockname()[1]}"
        tracker = open_tracker(tmp_path, uri)
        tracker.start_sweep({"uri": uri}, {"uri": uri}, {"nested": [{"uri": uri}]})
        tracker.end_trial("mp", failure=f"cannot reach {uri}/api")
        wait_until(lambda: "does not take entries" in caplog.text)
        assert tracker.finish(timeout_s=0.1) == 4  # the journal's own first line, too
    written = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "journal").iterdir())
    output = capfd.readouterr()
    assert "127.0.0.1" in written and "127.0.0.1" in caplog.text
    assert "hunter2" not in written + caplog.text + output.out + output.err


MODELS = ["a/b", "/data/model", "../model", "./model/", "a//b", "mo|d$x?", "~", "a@b", "é", "m" * 300, "a/" * 200]


def test_mlflow_takes_the_keys_of_tags_whatever_a_model_is_called(
    storage: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = open_tracker(storage)
    tracker.start_sweep({}, {f"model.fingerprint.{model}": model for model in MODELS}, {})
    assert tracker.finish() == 0
    tags = runs(default_uri(storage))[SWEEP].data.tags
    assert {text for key, text in tags.items() if key.startswith("model.fingerprint.")} == set(MODELS)
    assert tags["model.fingerprint.a/b"] == "a/b"
    assert not caplog.records


def test_files_that_were_uploaded_are_not_replaced_by_what_befell_them(storage: Path, tmp_path: Path) -> None:
    (tmp_path / "coder").mkdir()
    for content in ("whole", "ha"):
        (tmp_path / "coder" / "weights").write_text(content, encoding="utf-8")
        tracker = open_tracker(storage)
        tracker.start_sweep({}, {}, {})
        tracker.start_trial("mp", {}, {})
        tracker.log_artifacts("mp", tmp_path / "coder", "checkpoint", once=True)
        assert tracker.finish() == 0
    run = runs(default_uri(storage))["mp"]
    client = MlflowClient(tracking_uri=default_uri(storage))
    kept = client.download_artifacts(run.info.run_id, "checkpoint/weights", str(tmp_path))
    assert Path(kept).read_text(encoding="utf-8") == "whole"


def test_a_sweep_goes_on_with_its_own_script_only(storage: Path) -> None:
    tracker = open_tracker(storage)
    tracker.start_sweep({}, {}, {})
    assert tracker.finish() == 0
    with pytest.raises(UserError, match=f"was begun by {EXPERIMENT}; resume it with that script, not another"):
        Tracker(None, "another", SWEEP, storage, storage / "journal")
    again = open_tracker(storage)
    assert again.finish() == 0
