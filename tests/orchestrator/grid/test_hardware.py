"""What there is to run on, in words, and what an autoscaler may add to it."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.grid.hardware import CONFIG_FLAG, Hardware, autoscaler_config, largest
from tests.support.configs import hardware
from tests.support.waiting import wait_until


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


GPU_NODE = {"resources": {"CPU": 16, "GPU": 1}}


@pytest.mark.parametrize(
    ("types", "workers", "found"),
    [
        ({"a": GPU_NODE | {"max_workers": 3}}, 8, {"CPU": 8 + 48, "GPU": 3}),
        ({"a": GPU_NODE | {"max_workers": 8}, "b": GPU_NODE | {"max_workers": 8}}, 8, {"CPU": 8 + 128, "GPU": 8}),
        ({"a": GPU_NODE, "b": {"resources": {"CPU": 64}, "max_workers": 2}}, 3, {"CPU": 8 + 128 + 16, "GPU": 3}),
        ({"a": {"max_workers": 2}}, 2, {"CPU": 8, "GPU": 0}),
    ],
    ids=["one kind", "two kinds, fewer machines", "as many as all together", "nothing known of them"],
)
def test_the_largest_cluster_that_a_file_allows(
    types: dict[str, object], workers: int, found: dict[str, float]
) -> None:
    head = {"head": {"resources": {"CPU": 8}, "max_workers": 0}}
    config = {"head_node_type": "head", "max_workers": workers, "available_node_types": head | types}
    assert largest(config) == found
    assert largest({}) == {"CPU": 0, "GPU": 0}


def test_the_file_is_the_one_of_the_autoscaler_that_runs(tmp_path: Path) -> None:
    path = tmp_path / "ray_bootstrap_config.yaml"
    path.write_text("max_workers: 7", encoding="utf-8")
    command = [sys.executable, "-c", "input()", f"{CONFIG_FLAG}{path}"]  # as Ray starts it
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            wait_until(lambda: autoscaler_config() == {"max_workers": 7})
        finally:
            process.kill()
    assert autoscaler_config() == {}
