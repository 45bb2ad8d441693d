"""One process at a time in a sweep's directory."""

from pathlib import Path

import pytest

from orchestrator.driver.claims import locked
from orchestrator.errors import UserError

pytestmark = pytest.mark.sweep


def test_a_sweep_runs_once_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UserError, match="is running already"), locked(tmp_path):
        pass
