"""Where the SQLite store is, whatever the storage directory is called."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from sqlalchemy.exc import OperationalError

from orchestrator.figures import command
from orchestrator.tracking.addresses import default_uri, sqlite_file, sqlite_uri
from orchestrator.tracking.mlflow_store import brief, create_database
from orchestrator.tracking.reader import read_sweep
from tests.support.mlflow_runs import REPOSITORY
from tests.support.records import SWEEP, log_sweep
from tests.support.waiting import LIMIT_SECONDS, wait_until

ODD = ["x?y #1%20'\"&é", "what?", "100%", "%2F", "a#b", "a b", "a;b@c:d", "back\\slash", "[1]*", "$HOME", "-x", "a..b"]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=20))
def test_the_uri_names_the_file_in_the_directory(name: str) -> None:
    if name not in (".", ".."):
        assert sqlite_file(default_uri(Path("/data") / name)) == Path("/data") / name / "mlflow.db"


def test_a_plain_path_stays_readable() -> None:
    assert default_uri(Path("/data/runs-1.a_b")) == "sqlite:////data/runs-1.a_b/mlflow.db"


@pytest.mark.parametrize("name", ODD)
def test_runs_are_kept_in_a_directory_of_any_name(name: str, tmp_path: Path, empty_store: Path) -> None:
    odd = tmp_path / "above" / name
    odd.mkdir(parents=True)
    if name != ODD[0]:  # that one is made by MLflow, which takes a second
        shutil.copy(empty_store, odd)
    log_sweep(odd)
    assert (odd / "mlflow.db").stat().st_size >= empty_store.stat().st_size
    assert os.listdir(tmp_path / "above") == [name], "and nothing beside it"  # noqa: PTH208
    assert len(read_sweep(default_uri(odd), SWEEP).records) == 8
    assert len([*odd.glob("mlartifacts/*/artifacts/config.json")]) == 1
    if name == ODD[0]:
        assert command.main([SWEEP, "--storage", str(odd), "--out", str(tmp_path / "out")]) == 0
        assert (tmp_path / "out" / "figures.html").is_file()


def test_what_a_database_says_is_one_line() -> None:
    error = OperationalError("CREATE TABLE runs (\n\tname VARCHAR\n)", {}, Exception("database or\ndisk is full"))
    assert brief(error) == "OperationalError: (builtins.Exception) database or disk is full"


BEGIN = """
import sys
from pathlib import Path
from orchestrator.tracking.tracker import Tracker
storage, name = Path(sys.argv[1]), sys.argv[2]
tracker = Tracker(None, "grid", name, storage, storage / name)
tracker.start_sweep({}, {}, {})
sys.exit(tracker.finish(timeout_s=1000))
"""


def test_a_file_system_without_hard_links_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("orchestrator.tracking.mlflow_store.os.link", refuse)
    create_database(sqlite_uri(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["mlflow.db"]
    assert version(tmp_path / "mlflow.db")


def version(file: Path) -> list[tuple[str]]:
    """Of the tables in it, by the last migration that was done."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        return database.execute("SELECT version_num FROM alembic_version").fetchall()


def test_a_new_store_is_whole_from_its_first_moment(tmp_path: Path, empty_store: Path) -> None:
    """MLflow's migrations of one file by two sweeps at once, or by one that is killed, leave one that none can use."""
    names, file = ["one", "two", "three"], tmp_path / "mlflow.db"
    begun = [subprocess.Popen([sys.executable, "-c", BEGIN, str(tmp_path), name], cwd=REPOSITORY) for name in names]
    wait_until(file.exists, "the database")
    assert version(file) == version(empty_store)
    assert [process.wait(LIMIT_SECONDS) for process in begun] == [0] * len(names)
    assert not list(tmp_path.glob(".mlflow.db*"))
    client = MlflowClient(sqlite_uri(tmp_path))
    experiment = client.get_experiment_by_name("grid")
    assert sorted(run.info.run_name for run in client.search_runs([experiment.experiment_id])) == sorted(names)
