"""A journal that a kill has cut off."""

import json
import resource
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.datasets import Dataset
from orchestrator.tracking.entries import FIELDS, TORN, parse_entry
from orchestrator.tracking.journal import Journal, read_entries
from tests.support.mlflow_runs import SWEEP, open_tracker, runs, steps


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
    (storage / "journal" / "journal.jsonl").write_text('{"op": "jour', encoding="utf-8")
    tracker = open_tracker(storage)
    tracker.log_metrics("mp", {"fvu": 0.5}, step=1)
    assert tracker.finish() == 0
    assert set(runs(default_uri(storage))) == {SWEEP, "mp"}


def test_times_never_run_backwards(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets the clock back, also between two processes of a sweep: MLflow would show runs that end first."""
    clock = iter([3, 2, 1, 4])
    monkeypatch.setattr("orchestrator.tracking.journal.time.time_ns", lambda: next(clock) * 10**9)
    monkeypatch.setattr("orchestrator.tracking.journal.time.monotonic_ns", lambda: 0)
    for _ in range(2):
        Journal(storage).append("params", "mp", params={})
    Journal(storage).append("params", "mp", params={})
    assert [entry["t"] for entry in read_entries(storage)] == [3000, 3000, 3000, 4000]


def test_times_go_on_while_a_clock_that_was_set_back_is_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = {"wall": 100, "forward": 20}
    monkeypatch.setattr("orchestrator.tracking.journal.time.time_ns", lambda: clocks["wall"] * 10**9)
    monkeypatch.setattr("orchestrator.tracking.journal.time.monotonic_ns", lambda: clocks["forward"] * 10**9)
    journal = Journal(tmp_path)
    for clocks["wall"], clocks["forward"] in ((10, 21), (20, 31), (200, 32)):
        journal.append("params", "mp", params={})
    clocks.update(wall=5, forward=7)  # of a machine that was started since
    journal = Journal(tmp_path)
    clocks["forward"] = 10
    journal.append("params", "mp", params={})
    times = [entry["t"] for entry in read_entries(tmp_path)]
    assert times == [100_000, 101_000, 111_000, 200_000, 203_000]


def test_what_a_full_disk_cuts_off_costs_only_itself(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for _ in range(2):  # the second time there is no room even to end the line
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
        try:
            with pytest.raises(OSError, match="too large"):
                journal.append("params", "lost", params={"a": "b" * 1000})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (tmp_path / "journal.jsonl").stat().st_size == 300
    for trial in ("mp", "topk"):
        journal.append("params", trial, params={})
    assert [(entry["op"], entry["trial"]) for entry, _ in journal.pending()] == [
        ("journal", None), ("torn", None), ("params", "mp"), ("params", "topk"),
    ]  # fmt: skip


def test_a_disk_that_takes_nothing_at_all_leaves_no_mark(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "journal.jsonl").stat().st_size, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            journal.append("params", "lost", params={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    journal.append("params", "mp", params={})
    assert [entry["trial"] for entry, _ in journal.pending()] == [None, "mp"]


def test_progress_that_cannot_be_noted_is_said_once_and_noted_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path)
    (tmp_path / "state.tmp").mkdir()  # no file can be written there
    end = [end for _, end in journal.pending()][-1]
    journal.advance(end)
    journal.flush()
    journal.save()
    assert journal.unsent() == 0
    assert caplog.text.count("cannot be written") == 1
    (tmp_path / "state.tmp").rmdir()
    journal.flush()
    assert Journal(tmp_path).state.offset == end


GOOD: dict[str, Any] = {
    "journal": {"id": "0" * 32},
    "start": {"params": {"k": "4"}, "tags": {}},
    "params": {"params": {"k": "4"}},
    "metrics": {"step": 3, "data": {"fvu": 0.5, "l0": 4}},
    "view": {"tags": {"a": "b"}},
    "datasets": {"datasets": [asdict(Dataset(
        name="a", digest="b", context="training", source_type="code", source="{}", profile="{}"))]},
    "model": {"data": {"fvu": [0.5, 3, 1]}},
    "artifacts": {"path": "/a", "to": None},
    "end": {"status": "FINISHED", "failure": None},
}  # fmt: skip
WRONG = (None, [], 3.5, True, "x", {"a": []}, {"a": 10**400}, -1)
WRONG_INSIDE: dict[str, list[dict[str, Any]]] = {
    "datasets": [{"datasets": [value]} for value in (None, {}, {**GOOD["datasets"]["datasets"][0], "name": 3})],
    "model": [{"trial": None}, {"data": {}}] + [
        {"data": {"fvu": point}} for point in ("abc", [0.5, 3], ["a", 3, 1], [0.5, -1, 1], [0.5, 3, -1], [0.5, 3, 1, 1])
    ],
}  # fmt: skip


@pytest.mark.parametrize("op", FIELDS)
def test_an_entry_of_other_types_is_none(op: str) -> None:
    entry = {"op": op, "trial": "t", "t": 1, **GOOD[op]}
    assert parse_entry(json.dumps(entry).encode()) == entry
    for field in entry.keys() - ({"t"} if op == "journal" else set()):
        right = [value for value in WRONG if parse_entry(json.dumps(entry | {field: value}).encode()) != TORN]
        assert len(right) <= 3, f"{field} may be any of {right}"
        assert {"a": []} not in right
        lacking = {name: value for name, value in entry.items() if name != field}
        assert parse_entry(json.dumps(lacking).encode()) == TORN
    for changed in WRONG_INSIDE.get(op, ()):
        assert parse_entry(json.dumps(entry | changed).encode()) == TORN
    for line in (b"[" * 100_000, b"null", b'"op"', b'{"op": []}', json.dumps(entry | {"op": "other"}).encode()):
        assert parse_entry(line) == TORN


@pytest.mark.parametrize(
    "state",
    [{"offset": 10**9}, {"offset": 5}, {"offset": -1}, {"offset": "3"}, {"offset": True}, {"runs": []},
     {"runs": {"t": 3}}, {"experiment_id": 4}, {"other": 1}],
    ids=str,
)  # fmt: skip
def test_a_state_of_another_journal_loses_no_entry(state: dict[str, Any], tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append("params", None, params={"a": "b"})
    (tmp_path / "state.json").write_text(json.dumps(state), encoding="utf-8")
    assert Journal(tmp_path).unsent() == 2
    assert [entry["op"] for entry in read_entries(tmp_path)] == ["journal", "params"]


def test_no_file_from_elsewhere_is_uploaded(storage: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever resumes a sweep that somebody sent must not send them files in return."""
    outside = storage / "private"
    outside.mkdir()
    (outside / "key").write_text("secret", encoding="utf-8")
    sweep = storage / "sweep"
    (sweep / "figures").mkdir(parents=True)
    (sweep / "figures" / "a.png").write_bytes(b"1")
    (sweep / "link").symlink_to(outside)
    tracker = open_tracker(storage, journal=sweep / "tracking")
    for place in (outside, outside / "key", sweep / "link", sweep / ".." / "private", sweep / "figures"):
        tracker._journal.append("artifacts", None, path=str(place), to="figures")
    assert tracker.finish() == 0
    (run,) = runs(default_uri(storage)).values()
    client = MlflowClient(default_uri(storage))
    assert [file.path for file in client.list_artifacts(run.info.run_id, "figures")] == ["figures/a.png"]
    assert caplog.text.count("is outside the sweep's directory") == 4


def test_progress_is_on_disk_at_once_or_when_it_is_asked_for(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for trial in ("a", "b"):
        journal.append("end", trial, status="FINISHED", failure=None)
    ends = [end for _, end in journal.pending()]
    journal.advance(ends[0])
    assert Journal(tmp_path).state.offset == ends[0]
    journal.advance(ends[1])
    assert [entry["trial"] for entry, _ in journal.pending()] == ["b"]
    assert Journal(tmp_path).state.offset == ends[0]
    journal.flush()
    assert Journal(tmp_path).state.offset == ends[1]
    (tmp_path / "state.json").unlink()
    journal.flush()  # an older sender has nothing to say about what a newer one delivered
    assert not (tmp_path / "state.json").exists()
