"""Delivery to MLflow while it is away, refuses, or has lost what it was told; a real server comes and goes."""

import errno
import itertools
import json
import logging
import math
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.tracking import delivery, journal
from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.entries import Entry
from tests.support.mlflow_runs import SWEEP, open_tracker, runs, steps
from tests.support.mlflow_server import Server
from tests.support.waiting import wait_until


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


def test_many_points_of_many_trials_arrive_whole(storage: Path) -> None:
    """More than are looked at in one go, and more of each trial than MLflow takes in one call."""
    trials = [f"trial-{number}" for number in range(8)]
    tracker = open_tracker(storage)
    for step, (number, name) in itertools.product(range(1, 701), enumerate(trials)):
        tracker.log_metrics(name, {"train/fvu": number + 1 / step, "dead_pct": float(step)}, step)
    assert tracker.finish() == 0
    found = runs(default_uri(storage))
    for number, name in enumerate(trials):
        assert steps(default_uri(storage), found[name], "train/fvu") == list(range(1, 701))
        assert steps(default_uri(storage), found[name], "dead_pct") == list(range(1, 701))
        assert found[name].data.metrics == {"train/fvu": number + 1 / 700, "dead_pct": 700.0}


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
        file.write(json.dumps({"op": "params", "trial": "\ud800", "t": 1, "params": {}}) + "\n")

    tracker = open_tracker(storage)
    tracker.log_metrics("mp", {"fvu": 0.5}, step=1)
    assert tracker.finish() == 0
    assert runs(default_uri(storage))["mp"].data.metrics == {"fvu": 0.5}
    assert "skipping an entry of the journal that is damaged" in caplog.text
    assert "dropping an entry" in caplog.text


class Unreadable:
    """In place of what reads a journal: while `on`, this process has too many files open for that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on, self.refused, self._read = False, 0, journal._entries
        monkeypatch.setattr(journal, "_entries", self.read)
        monkeypatch.setattr(delivery, "_BACKOFF_S", (0.01, 0.01))

    def read(self, path: Path, offset: int) -> Iterator[tuple[Entry, int]]:
        if self.on:
            self.refused += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))
        return self._read(path, offset)


def test_a_journal_that_cannot_be_read_for_a_while_is_delivered_later(
    storage: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "_PATIENCE", 10**6)
    unreadable = Unreadable(monkeypatch)
    tracker = open_tracker(storage)
    thread = tracker._delivery._thread
    unreadable.on = True
    tracker.log_metrics("mp", {"fvu": 0.5}, step=1)
    wait_until(lambda: unreadable.refused > 5 or not thread.is_alive())
    unreadable.on = False
    assert thread.is_alive()
    assert caplog.text.count(os.strerror(errno.EMFILE)) == caplog.text.count("does not reach") == 1
    assert tracker.finish() == 0
    assert steps(default_uri(storage), runs(default_uri(storage))["mp"], "fvu") == [1]


def test_a_journal_that_cannot_be_read_when_an_entry_is_given_up_is_delivered_later(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable = Unreadable(monkeypatch)

    def is_final(error: Exception) -> bool:
        unreadable.on = not unreadable.refused
        return True

    monkeypatch.setattr(delivery, "is_final", is_final)
    open_tracker(storage).finish()
    with (storage / "journal" / "journal.jsonl").open("a") as file:
        file.write(json.dumps({"op": "params", "trial": "\ud800", "t": 1, "params": {}}) + "\n")
    tracker = open_tracker(storage)
    thread = tracker._delivery._thread
    tracker.log_metrics("mp", {"fvu": 0.5}, step=1)
    wait_until(lambda: unreadable.refused or not thread.is_alive())
    unreadable.on = False
    assert tracker.finish() == 0
    assert runs(default_uri(storage))["mp"].data.metrics == {"fvu": 0.5}


def test_delivery_goes_on_where_progress_cannot_be_noted(
    storage: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("orchestrator.tracking.journal.SAVE_S", 0.0)
    (storage / "journal" / "state.tmp").mkdir(parents=True)  # no file can be written there
    tracker = open_tracker(storage)
    for step in (1, 2):
        tracker.log_metrics("mp", {"fvu": 0.5}, step)
        tracker.end_trial("mp")
    assert tracker.finish() == 0
    assert steps(default_uri(storage), runs(default_uri(storage))["mp"], "fvu") == [1, 2]
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "state.json cannot be written" in said


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


@pytest.fixture
def server(tmp_path: Path, empty_store: Path) -> Iterator[Server]:
    directory = tmp_path / "server"
    directory.mkdir()
    shutil.copy(empty_store, directory / "mlflow.db")
    server = Server(directory)
    yield server
    server.kill()


def test_nothing_is_lost_while_the_server_is_away(server: Server, tmp_path: Path) -> None:
    """Away at the start, killed in the middle of a stream of metrics, and away while the sweep restarts."""
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "cfg.json").write_text("{}", encoding="utf-8")
    tracker = open_tracker(tmp_path, server.uri)
    tracker.start_sweep({"model": "m"}, {}, {"k": [16]})
    tracker.start_trial("mp", {"k": 16}, {})
    for step in range(500):
        tracker.log_metrics("mp", {"fvu": math.nan if step == 7 else 1.0}, step)
    # Had logging waited for the server, which starts only now, this would never have been reached.
    assert tracker.comparison_url() is None

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
    assert url is not None and url.startswith(f"{server.uri}/#/experiments/1/runs?viewStateShareKey=")
