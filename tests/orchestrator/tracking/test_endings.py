"""The status with which a sweep's parent run ends."""

import pytest

from orchestrator.tracking.endings import UNFINISHED, sweep_status


@pytest.mark.parametrize(
    ("failures", "status"),
    [
        ({}, "FINISHED"),
        ({"a": "diverged"}, "FAILED"),
        ({"a": UNFINISHED}, "KILLED"),
        ({"a": "diverged", "b": UNFINISHED}, "KILLED"),
    ],
)
def test_an_interrupted_sweep_is_killed_whatever_else_failed(failures: dict[str, str], status: str) -> None:
    assert sweep_status(failures) == status
