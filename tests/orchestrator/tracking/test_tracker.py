"""The MLflow writer against real MLflow: SQLite files and a real server that comes, goes and comes back."""

import json
import logging
import math
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.redaction import redact
from orchestrator.tracking import delivery
from orchestrator.tracking.environment import environment_tags
from orchestrator.tracking.mlflow_store import default_uri
from orchestrator.tracking.tracker import Tracker

REPOSITORY = Path(__file__).parents[3]
EXPERIMENT, SWEEP = "grid", "night's run"


def open_tracker(storage: Path, uri: str | None = None) -> Tracker:
    return Tracker(uri, EXPERIMENT, SWEEP, storage, storage / "journal")


def runs(uri: str) -> dict[str, Run]:
    """All runs by name; fails if two share one."""
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    found = client.search_runs([experiment.experiment_id])
    by_name = {run.info.run_name: run for run in found}
    assert len(by_name) == len(found)
    return by_name


def steps(uri: str, run: Run, key: str) -> list[int]:
    return sorted(m.step for m in MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, key))


def test_a_sweep_is_a_parent_with_a_child_per_trial(storage: Path) -> None:
    figures = storage / "figures"
    figures.mkdir()
    (figures / "fvu.txt").write_text("figure")
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
    assert json.loads((artifacts / "config.json").read_text()) == {"k": [16, 32], "path": "/data", "limit": math.inf}
    assert (artifacts / "figures" / "fvu.txt").read_text() == "figure"
    assert (storage / "mlartifacts" / mp.info.run_id / "artifacts" / "fvu.txt").read_text() == "figure"


def test_the_comparison_page_is_given_every_trial_and_the_experiment(storage: Path) -> None:
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


@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_runs_are_found_again_when_their_creation_was_never_noted(storage: Path, damage: str) -> None:
    tracker = open_tracker(storage)
    tracker.start_trial("mp", {"k": 16}, {})
    tracker.log_metrics("mp", {"fvu": 0.5}, step=1)
    tracker.finish()
    state = storage / "journal" / "state.json"
    state.unlink() if damage == "missing" else state.write_text("")

    tracker = open_tracker(storage)
    tracker.log_metrics("mp", {"fvu": 0.25}, step=2)
    assert tracker.finish() == 0
    found = runs(default_uri(storage))
    assert set(found) == {SWEEP, "mp"}
    assert steps(default_uri(storage), found["mp"], "fvu") == [1, 2]


def test_a_store_that_knows_nothing_of_the_sweep_is_told_everything(storage: Path, empty_store: Path) -> None:
    tracker = open_tracker(storage)
    tracker.start_trial("mp", {"k": 16}, {})
    tracker.log_metrics("mp", {"fvu": 0.5}, step=1)
    tracker.finish()
    shutil.copy(empty_store, storage / "other.db")
    other = f"sqlite:///{storage / 'other.db'}"

    tracker = open_tracker(storage, other)
    tracker.log_metrics("mp", {"fvu": 0.25}, step=2)
    assert tracker.finish() == 0
    assert steps(other, runs(other)["mp"], "fvu") == [1, 2]


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


@pytest.mark.parametrize("torn", [b'{"op": "metrics", "trial": "mp", "da', b"\x00\x00\xff", b'{"op"'])
def test_a_line_cut_off_by_a_kill_costs_only_itself(
    storage: Path, torn: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = open_tracker(storage)
    tracker.log_metrics("mp", {"fvu": 0.5}, step=1)
    tracker.finish()
    with (storage / "journal" / "journal.jsonl").open("ab") as file:
        file.write(torn)

    tracker = open_tracker(storage)
    tracker.log_metrics("mp", {"fvu": 0.25}, step=2)
    assert tracker.finish() == 0
    assert steps(default_uri(storage), runs(default_uri(storage))["mp"], "fvu") == [1, 2]
    assert "cut off" in caplog.text


def test_a_first_line_cut_off_by_a_kill_starts_a_new_journal(storage: Path) -> None:
    (storage / "journal").mkdir()
    (storage / "journal" / "journal.jsonl").write_text('{"op": "jour')
    tracker = open_tracker(storage)
    tracker.log_metrics("mp", {"fvu": 0.5}, step=1)
    assert tracker.finish() == 0
    assert set(runs(default_uri(storage))) == {SWEEP, "mp"}


def test_what_mlflow_refuses_is_dropped_alone_and_with_a_warning(
    storage: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = open_tracker(storage)
    tracker.start_trial("mp", {"k": 16, "seed": 0}, {})
    tracker.log_params("mp", {"k": 32, "late": 1})
    tracker.log_artifacts("mp", storage / "deleted checkpoint")
    for step in range(100):
        tracker.log_metrics("mp", {"fvu": 0.5, "no + such" if step == 50 else "l0": 1}, step)
    tracker.end_trial("mp")
    assert tracker.finish() == 0

    uri = default_uri(storage)
    run = runs(uri)["mp"]
    assert run.data.params == {"k": "16", "seed": "0", "late": "1"}
    assert steps(uri, run, "fvu") == list(range(100))
    assert steps(uri, run, "l0") == [step for step in range(100) if step != 50]
    assert run.info.status == "FINISHED"
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [re.findall(r"deleted checkpoint|no \+ such|refused k", text)[0] for text in warnings] == [
        "refused k",
        "deleted checkpoint",
        "no + such",
    ]


def test_an_entry_that_always_fails_is_given_up_while_mlflow_answers(
    storage: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "_PATIENCE", 3)
    monkeypatch.setattr(delivery, "_BACKOFF_S", (0.01, 0.01))
    tracker = open_tracker(storage)
    # SQLite has no such integer, which MLflow reports as an error of the server, as it would a passing one.
    tracker.log_metrics("mp", {"fvu": 0.5}, step=1)
    tracker.log_metrics("mp", {"l0": 0.5}, step=2**70)
    tracker.log_metrics("mp", {"fvu": 0.5}, step=2)
    assert tracker.finish() == 0
    assert steps(default_uri(storage), runs(default_uri(storage))["mp"], "fvu") == [1, 2]
    assert "refused l0" in caplog.text


def test_an_entry_that_makes_no_sense_is_given_up(
    storage: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "_PATIENCE", 3)
    monkeypatch.setattr(delivery, "_BACKOFF_S", (0.01, 0.01))
    open_tracker(storage).finish()
    with (storage / "journal" / "journal.jsonl").open("a") as file:
        file.write('{"op": "params", "trial": "mp", "t": 1}\n')

    tracker = open_tracker(storage)
    tracker.log_metrics("mp", {"fvu": 0.5}, step=1)
    assert tracker.finish() == 0
    assert runs(default_uri(storage))["mp"].data.metrics == {"fvu": 0.5}
    assert "dropping an entry" in caplog.text


def test_a_run_that_was_purged_is_made_anew(storage: Path) -> None:
    tracker = open_tracker(storage)
    tracker.log_metrics("mp", {"fvu": 0.5}, step=1)
    wait_until(lambda: tracker._journal.unsent() == 0)
    # As a server without a disk does on a restart that is over before the sweep notices.
    with sqlite3.connect(storage / "mlflow.db") as store:
        for table in ("metrics", "latest_metrics", "tags", "runs", "experiments"):
            store.execute(f"DELETE FROM {table}")
    tracker.log_metrics("mp", {"fvu": 0.25}, step=2)
    assert tracker.finish() == 0
    assert steps(default_uri(storage), runs(default_uri(storage))["mp"], "fvu") == [1, 2]


class Server:
    """A real `mlflow server` on a free loopback port, with the store and the artifacts in `directory`."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", default_uri(self._directory)]
        command += ["--artifacts-destination", str(self._directory / "served")]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self._directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def answers(self) -> bool:
        try:
            return urllib.request.urlopen(f"{self.uri}/health", timeout=1).status == 200
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


@pytest.fixture
def server(tmp_path: Path, empty_store: Path) -> Iterator[Server]:
    directory = tmp_path / "server"
    directory.mkdir()
    shutil.copy(empty_store, directory / "mlflow.db")
    server = Server(directory)
    yield server
    server.kill()


def wait_until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


def test_nothing_is_lost_while_the_server_is_away(server: Server, tmp_path: Path) -> None:
    """Away at the start, killed in the middle of a stream of metrics, and away while the sweep restarts."""
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "cfg.json").write_text("{}")
    tracker = open_tracker(tmp_path, server.uri)
    started = time.monotonic()
    tracker.start_sweep({"model": "m"}, {}, {"k": [16]})
    tracker.start_trial("mp", {"k": 16}, {})
    for step in range(500):
        tracker.log_metrics("mp", {"fvu": math.nan if step == 7 else 1.0}, step)
    assert time.monotonic() - started < 2, "logging waited for the server"

    server.start()
    wait_until(lambda: tracker.comparison_url() is not None)
    for step in range(500, 3000):
        tracker.log_metrics("mp", {"fvu": 1.0, "l0": float(step)}, step)
        if step == 1500:
            server.kill()
    unsent = tracker.finish("KILLED", timeout_s=0.5)
    assert unsent > 0

    tracker = open_tracker(tmp_path, server.uri)
    tracker.start_sweep({"model": "m"}, {}, {"k": [16]})
    tracker.start_trial("mp", {"k": 16}, {})
    tracker.log_artifacts("mp", checkpoint, "checkpoint")
    server.start()
    wait_until(server.answers)
    tracker.end_trial("mp")
    assert tracker.finish() == 0

    found = runs(server.uri)
    assert set(found) == {SWEEP, "mp"}
    mp = found["mp"]
    assert mp.data.tags["mlflow.parentRunId"] == found[SWEEP].info.run_id
    assert steps(server.uri, mp, "fvu") == list(range(3000))
    assert steps(server.uri, mp, "l0") == list(range(500, 3000))
    assert mp.info.status == found[SWEEP].info.status == "FINISHED"
    assert mp.info.artifact_uri.startswith("mlflow-artifacts:")
    listed = MlflowClient(tracking_uri=server.uri).list_artifacts(mp.info.run_id, "checkpoint")
    assert [item.path for item in listed] == ["checkpoint/cfg.json"]
    url = tracker.comparison_url("http://elsewhere")
    assert url is not None and url.startswith(f"{server.uri}/#/compare-runs?")


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
    written = "".join(path.read_text() for path in (tmp_path / "journal").iterdir())
    output = capfd.readouterr()
    assert "127.0.0.1" in written and "127.0.0.1" in caplog.text
    assert "hunter2" not in written + caplog.text + output.out + output.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://user:pass@host:5000/x", "http://host:5000/x"),
        ("https://token@host", "https://host"),
        ("http://user:p@ss@host/", "http://host/"),
        ("postgresql://u:p@db/mlflow?sslmode=require", "postgresql://db/mlflow?sslmode=require"),
        ("postgresql://db/mlflow?user=u&password=p", "postgresql://db/mlflow?user=u&password=***"),
        ("failed: http://u:p@a, then http://u:p@b", "failed: http://a, then http://b"),
        ("http://host/path@rev", "http://host/path@rev"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("me@example.org", "me@example.org"),
    ],
)
def test_redact(text: str, expected: str) -> None:
    assert redact(text) == expected
    assert redact(redact(text)) == expected


def test_environment_tags_name_the_commit_and_the_versions() -> None:
    tags = environment_tags()
    assert tags["version.python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"version.torch", "version.ray", "version.mlflow", "host", "cpu.model", "cpu.count"} <= set(tags)
    assert all(isinstance(value, str) and value for value in tags.values())
    if (REPOSITORY / ".git").exists():
        assert re.fullmatch("[0-9a-f]{40}", tags["git.commit"])
        assert tags["git.dirty"] in ("true", "false")
