"""Joining a cluster that is not there, and leaving one."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.driver.cli import main
from orchestrator.driver.ray_session import STARTED_CLUSTER
from sweeps.smollm_grid import PRESETS
from tests.support.waiting import LIMIT_SECONDS

pytestmark = pytest.mark.sweep


def test_an_address_without_a_cluster_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    assert main("", "smollm_grid", PRESETS, ["--plan"]) == 2
    assert capsys.readouterr().err.startswith("error: RAY_ADDRESS '127.0.0.1:9': no Ray cluster")


def test_a_cluster_of_ray_start_that_is_gone_is_told_of_and_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Its machine went down, or `ray stop` was killed: the file with its address is still there."""
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / STARTED_CLUSTER).write_text("127.0.0.1:9", encoding="utf-8")
    assert main("", "smollm_grid", PRESETS, ["--plan", "--quiet"]) == 0
    assert (
        caplog.messages.count("the Ray cluster at 127.0.0.1:9 that was started here does not answer; going on without")
        == 1
    )


LEAVING = """
import signal, sys
from orchestrator.driver.ray_session import leave_ray, start_private_ray
from orchestrator.driver.script import exit_status
from orchestrator.grid.hardware import detect

def script(interruption):
    start_private_ray(detect(False), interruption)
    leave_ray(interruption)
    signal.raise_signal(signal.SIGTERM)

sys.exit(exit_status(script))
"""


def test_a_signal_after_ray_is_heard_as_one_before_it() -> None:
    done = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=LIMIT_SECONDS)
    assert (done.returncode, done.stderr.splitlines()[-1:]) == (143, ["interrupted; nothing had begun"])
