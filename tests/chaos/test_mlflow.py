"""MLflow goes away while a sweep trains: for a while, and for good."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.disturbed import Sweep, check_runs
from tests.support.mlflow_server import Server
from tests.support.sweeps import finished
from tests.support.waiting import LIMIT_SECONDS, wait_until

pytestmark = pytest.mark.chaos


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "mlflow").mkdir()
    server = Server(tmp_path / "mlflow")
    server.start()
    yield server
    server.kill()


def running(undisturbed: Sweep, tiny_model: Path, tmp_path: Path, server: Server, name: str) -> Sweep:
    """A sweep in training that the server knows of."""
    sweep = Sweep(tiny_model, tmp_path, name, "--tracking-uri", server.uri)
    wait_until(server.answers, "MLflow's server")
    sweep.start()
    sweep.until_half_done()
    return sweep


def test_a_server_that_is_away_for_a_while_has_everything(
    undisturbed: Sweep, tiny_model: Path, tmp_path: Path, server: Server
) -> None:
    sweep = running(undisturbed, tiny_model, tmp_path, server, "away")
    server.kill()
    sweep.until(lambda: bool(finished(sweep.directory)))
    with sweep.held():  # a sweep that is over waits for no server that is slow to start
        server.start()
        wait_until(server.answers, "MLflow's server")
    assert "wait for MLflow" not in sweep.end(0)
    sweep.check(undisturbed, server.uri)


def test_what_a_server_that_is_gone_for_good_missed_is_told_to_another(
    undisturbed: Sweep, tiny_model: Path, tmp_path: Path, server: Server
) -> None:
    sweep = running(undisturbed, tiny_model, tmp_path, server, "gone")
    server.kill()
    said = sweep.end(0)
    assert "entries wait for MLflow" in said
    other = f"sqlite:///{tmp_path}/other.db"
    again = subprocess.run(
        [sys.executable, "-m", "orchestrator.driver.replay", "--storage", str(tmp_path), "--sweep", "gone",
         "--tracking-uri", other],
        capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert "has all of sweep gone" in again.stdout
    sweep.check(undisturbed, other)
    shutil.rmtree(sweep.directory / "tune")  # read by nobody
    check_runs(sweep, undisturbed, other)
