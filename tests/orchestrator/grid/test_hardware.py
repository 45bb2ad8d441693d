"""What there is to run on, in words."""

import pytest

from orchestrator.grid.hardware import Hardware
from tests.support.configs import hardware


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (hardware(0), "this machine with 8 CPU cores and no GPUs"),
        (hardware(1), "this machine with 8 CPU cores and 1 GPU"),
        (hardware(16, cluster=True, nodes=2), "a Ray cluster of 2 nodes with 8 CPU cores and 16 GPUs"),
    ],
)
def test_hardware_in_words(found: Hardware, said: str) -> None:
    assert found.describe() == said
