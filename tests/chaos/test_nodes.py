"""Clusters of several nodes on this machine: one is lost with its shards, one joins late, two sweeps share them."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from ray.cluster_utils import Cluster

from tests.chaos.disturbed import BROKER, EXTRACTOR, TRIAL, Sweep
from tests.support.sweeps import half_done
from tests.support.waiting import wait_until

pytestmark = pytest.mark.chaos
SMALLEST_STORE = 80 << 20


@contextlib.contextmanager
def cluster(object_store_memory: int = 200 << 20) -> Iterator[Cluster]:
    made = Cluster(
        initialize_head=True, connect=False,
        head_node_args={
            "wait": False, "num_cpus": 1, "object_store_memory": object_store_memory, "include_dashboard": False,
        },
    )  # fmt: skip
    try:
        until_alive(made, made.head_node)
        yield made
    finally:
        made.shutdown()


def until_alive(nodes: Cluster, node: object) -> None:
    """Ray itself would wait for half a minute only."""
    name = node.node_id  # type: ignore[attr-defined]
    wait_until(
        lambda: any(each["NodeID"] == name and each["Alive"] for each in nodes.global_state.node_table()), "the node"
    )


def joined(nodes: Cluster) -> object:
    """Another node, once it is alive."""
    node = nodes.add_node(wait=False, num_cpus=1, object_store_memory=200 << 20)
    until_alive(nodes, node)
    return node


def raylet(node: object) -> psutil.Process:
    (found,) = node.all_processes["raylet"]  # type: ignore[attr-defined]
    return psutil.Process(found.process.pid)


def those_on(node: object, title: str) -> list[psutil.Process]:
    """Processes of the node whose command line begins with the title."""
    found = []
    for each in raylet(node).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if " ".join(each.cmdline()).startswith(title):
                found.append(each)
    return found


def runs_on(node: object, title: str) -> bool:
    return bool(those_on(node, title))


@contextlib.contextmanager
def standing_still(processes: list[psutil.Process]) -> Iterator[None]:
    """Within the block they do."""
    try:
        for each in processes:
            each.suspend()
        yield
    finally:
        for each in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.resume()


def test_a_lost_node_and_one_that_joins_late(undisturbed: Sweep, tiny_model: Path, tmp_path: Path) -> None:
    """The head has room for one trial, which stands still meanwhile: those of the lost node are left to the other."""
    with cluster() as nodes:
        lost = joined(nodes)
        sweep = Sweep(tiny_model, tmp_path, "nodes", RAY_ADDRESS=nodes.address).start()
        sweep.until(lambda: runs_on(nodes.head_node, TRIAL) and bool(half_done(sweep.directory)))
        with standing_still(those_on(nodes.head_node, TRIAL)):
            sweep.until(lambda: runs_on(lost, TRIAL) and runs_on(lost, EXTRACTOR))
            sweep.note()
            assert not runs_on(lost, BROKER), "the token files are where the driver is"
            workers = raylet(lost).children(recursive=True)
            raylet(lost).send_signal(signal.SIGKILL)
            for worker in workers:  # the machine is gone, not one process of it
                with contextlib.suppress(psutil.NoSuchProcess):
                    os.kill(worker.pid, signal.SIGKILL)
            late = joined(nodes)
            sweep.until(lambda: runs_on(late, TRIAL))
        sweep.end(0)
        sweep.check(undisturbed)


def test_two_sweeps_at_once_on_one_cluster_and_one_cache(undisturbed: Sweep, tiny_model: Path, tmp_path: Path) -> None:
    with cluster() as nodes:
        joined(nodes)
        cache = ["--cache-dir", str(tmp_path / "cache")]
        both = [Sweep(tiny_model, tmp_path, name, *cache, RAY_ADDRESS=nodes.address).start() for name in ("a", "b")]
        for sweep in both:
            sweep.end(0)
        for sweep in both:
            sweep.check(undisturbed)


def test_an_object_store_far_too_small_is_slow_and_right(tiny_model: Path, tmp_path: Path) -> None:
    """One shard over both hookpoints is a third of the store, and every one is wanted by four trials."""
    large = ["--shard-tokens", "49152", "--shard-dtype", "float32"]
    plain = Sweep(tiny_model, tmp_path, "plain", *large).start()
    plain.end(0)
    with cluster(SMALLEST_STORE) as nodes:
        sweep = Sweep(tiny_model, tmp_path, "small", *large, RAY_ADDRESS=nodes.address).start()
        sweep.end(0)
        sweep.check(plain)
