"""Records of trials, from the journal and from MLflow."""

import itertools
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.errors import UserError
from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.reader import read_sweep
from orchestrator.tracking.records import journal_records
from tests.support.records import SWEEP, fvu_of, log_sweep


def test_journal_and_mlflow_give_the_same_records(storage: Path) -> None:
    log_sweep(storage)
    log_sweep(storage)  # a resumed sweep repeats what it has logged
    from_journal = journal_records(storage / "journal")
    sweep = read_sweep(default_uri(storage), SWEEP)
    assert sweep.records == from_journal
    assert (sweep.name, sweep.namesakes) == (SWEEP, 0)
    assert [(r.hookpoint, r.variant, r.seed) for r in from_journal] == list(
        itertools.product(("layers.9", "layers.10"), ("mp-tied", "mp"), (0, 1))
    )
    first = from_journal[0]
    assert (first.model, first.k, first.expansion_factor) == ("m", 16, 8)
    assert first.metrics == {"train/fvu": 0.05, "dead_pct": 0.5, "val/fvu": fvu_of(16, "mp-tied", 0), "l0": 16.0}
    assert first.history["train/fvu"] == [(1, 1.0), (7, 1 / 7), (20, 0.05)]
    assert first.history["dead_pct"] == [(7, 0.5), (20, 0.5)]
    assert [(r.variant, r.seed) for r in from_journal if "val/fvu" not in r.metrics] == [("mp", 0)]


def test_the_journal_has_the_records_when_mlflow_is_away(tmp_path: Path, storage: Path) -> None:
    log_sweep(storage, uri="http://127.0.0.1:9", finish_s=0.1)
    assert len(journal_records(storage / "journal")) == 8


def test_a_sweep_is_found_by_the_id_of_its_parent_too(storage: Path) -> None:
    log_sweep(storage)
    uri = default_uri(storage)
    by_name = read_sweep(uri, SWEEP)
    assert read_sweep(uri, by_name.run_id) == by_name
    client = MlflowClient(tracking_uri=uri)
    child = next(run for run in client.search_runs(["1"]) if "mlflow.parentRunId" in run.data.tags)
    with pytest.raises(UserError, match=f"^run '{child.info.run_id}': is a trial; its sweep is run {by_name.run_id}$"):
        read_sweep(uri, child.info.run_id)


def test_params_that_are_no_numbers_are_of_no_trial(storage: Path) -> None:
    log_sweep(storage)
    path = storage / "journal" / "journal.jsonl"
    text = path.read_text(encoding="utf-8")
    assert text.count('"k": "16"') == 8
    path.write_text(text.replace('"k": "16"', '"k": "sixteen"', 1).replace('"k": "16"', f'"k": "{"9" * 5000}"', 1))
    assert len(journal_records(storage / "journal")) == 6
