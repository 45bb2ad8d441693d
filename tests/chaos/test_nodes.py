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

pytestmark = pytest.mark.chaos
SMALLEST_STORE = 80 << 20


@contextlib.contextmanager
def cluster(object_store_memory: int = 200 << 20) -> Iterator[Cluster]:
    made = Cluster(
        initialize_head=True, connect=False,
        head_node_args={"num_cpus": 1, "object_store_memory": object_store_memory, "include_dashboard": False},
    )  # fmt: skip
    try:
        yield made
    finally:
        made.shutdown()


def raylet(node: object) -> psutil.Process:
    (found,) = node.all_processes["raylet"]  # type: ignore[attr-defined]
    return psutil.Process(found.process.pid)


def runs_on(node: object, title: str) -> bool:
    return any(" ".join(each.cmdline()).startswith(title) for each in raylet(node).children(recursive=True))


def test_a_lost_node_and_one_that_joins_late(undisturbed: Sweep, tiny_model: Path, tmp_path: Path) -> None:
    with cluster() as nodes:
        lost = nodes.add_node(num_cpus=1, object_store_memory=200 << 20)
        sweep = Sweep(tiny_model, tmp_path, "nodes", RAY_ADDRESS=nodes.address).start()
        sweep.until(lambda: runs_on(lost, TRIAL) and runs_on(lost, EXTRACTOR) and bool(half_done(sweep.directory)))
        sweep.note()
        assert not runs_on(lost, BROKER), "the token files are where the driver is"
        workers = raylet(lost).children(recursive=True)
        raylet(lost).send_signal(signal.SIGKILL)
        for worker in workers:  # the machine is gone, not one process of it
            with contextlib.suppress(psutil.NoSuchProcess):
                os.kill(worker.pid, signal.SIGKILL)
        late = nodes.add_node(num_cpus=1, object_store_memory=200 << 20)
        sweep.until(lambda: runs_on(late, TRIAL))
        sweep.end(0)
        sweep.check(undisturbed)


def test_two_sweeps_at_once_on_one_cluster_and_one_cache(undisturbed: Sweep, tiny_model: Path, tmp_path: Path) -> None:
    with cluster() as nodes:
        nodes.add_node(num_cpus=1, object_store_memory=200 << 20)
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
