"""`make ui`: what it refuses, and what it shows."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.driver.printed_commands import ui_command
from orchestrator.tracking import ui
from tests.support.mlflow_runs import REPOSITORY, SWEEP, open_tracker
from tests.support.waiting import content_of, free_port, wait_until

MAKE = ["make", "--no-print-directory", "-o", f"{sys.prefix}/.installed", f"VENV={sys.prefix}"]
"""With the environment that is running this."""


@pytest.fixture
def taken(request: pytest.FixtureRequest) -> Iterator[int]:
    with socket.socket() as other:
        other.bind((getattr(request, "param", "127.0.0.1"), 0))
        other.listen()
        yield int(other.getsockname()[1])


@pytest.mark.parametrize("taken", ["127.0.0.1", "0.0.0.0"], indirect=True)
def test_a_port_that_is_taken_is_one_line(taken: int, storage: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert ui.main(["--storage", str(storage), "--port", str(taken)]) == 2
    said = capfd.readouterr().err
    assert said.startswith(f"error: port {taken}: cannot be had on 127.0.0.1 (Address already in use); take another")
    assert said.count("\n") == 1


@pytest.mark.parametrize("port", ["0", "65536", "-1"])
def test_a_port_that_is_none_is_one_line(port: str, storage: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert ui.main(["--storage", str(storage), f"--port={port}"]) == 2
    assert capfd.readouterr().err == f"error: port {port}: must be from 1 to 65535\n"


def test_a_port_that_is_no_number_is_one_line(storage: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert ui.main(["--storage", str(storage), "--port=abc"]) == 2
    assert capfd.readouterr().err == "error: port 'abc': must be a whole number\n"


def test_a_storage_without_runs_is_one_line_and_stays_empty(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert ui.main(["--storage", str(tmp_path / "what?")]) == 2
    assert capfd.readouterr().err == (
        f"error: storage '{tmp_path}/what?': no runs there yet; make sweep records some\n"
    )
    assert [*tmp_path.iterdir()] == []


def test_make_hands_any_path_over_as_it_is(tmp_path: Path) -> None:
    odd = tmp_path / "x?y #1%20'\"&é;[1]$HOME $(touch pwned) `touch pwned`\\"
    for command, environment in (
        (ui_command(odd).replace("make", " ".join(MAKE), 1), {}),
        (" ".join([*MAKE, "ui"]), {"STORAGE": str(odd)}),
    ):
        done = subprocess.run(
            command, shell=True, cwd=REPOSITORY, env=os.environ | environment, capture_output=True, text=True
        )
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: storage {str(odd)!r}: no runs there yet")
    assert not (REPOSITORY / "pwned").exists()


@pytest.mark.parametrize("target", ["figures", "compare"])
def test_make_hands_any_name_over_as_it_is(target: str, storage: Path) -> None:
    name = "-n'i\"g#h t%?$(touch pwned)é"
    done = subprocess.run(
        [*MAKE, target], cwd=REPOSITORY, env=os.environ | {"STORAGE": str(storage), "RUN": name},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr.startswith(f"error: run {name!r}: MLflow has no sweep of this name")


@pytest.mark.sweep
def test_the_printed_command_shows_the_runs(tmp_path: Path, empty_store: Path) -> None:
    odd = tmp_path / "x?y #1%20'\"&é$(x)"
    odd.mkdir()
    shutil.copy(empty_store, odd)
    tracker = open_tracker(odd)
    tracker.start_sweep({}, {}, {})
    assert tracker.finish() == 0
    port = free_port()
    command = f"{ui_command(odd).replace('make', ' '.join(MAKE), 1)} PORT={port}"
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            command, shell=True, cwd=REPOSITORY, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until(lambda: SWEEP in names_of_runs(port))
        running = subprocess.run(["ps", "-s", str(server.pid), "-o", "args="], capture_output=True, text=True).stdout
        assert any("uvicorn" in line and ui.PATIENT in line for line in running.splitlines()), (
            "a busy machine gets none"
        )
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def names_of_runs(port: int) -> list[str]:
    """What the REST API has; nothing while it does not answer."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/search",
        json.dumps({"experiment_ids": ["1"]}).encode(),
        {"Content-Type": "application/json"},
    )
    said = content_of(asked)
    return [run["info"]["run_name"] for run in json.loads(said).get("runs", [])] if said else []
