"""A journal that a kill has cut off."""

from pathlib import Path

import pytest

from orchestrator.tracking.journal import Journal
from orchestrator.tracking.mlflow_store import default_uri
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
