"""Joining a cluster that is not there."""

import pytest

from orchestrator.driver.cli import main
from sweeps.smollm_grid import PRESETS

pytestmark = pytest.mark.sweep


def test_an_address_without_a_cluster_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    assert main("", "smollm_grid", PRESETS, ["--plan"]) == 2
    assert capsys.readouterr().err.startswith("error: RAY_ADDRESS '127.0.0.1:9': no Ray cluster")
