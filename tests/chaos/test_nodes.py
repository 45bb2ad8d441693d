"""Clusters of several nodes on this machine: one is lost with its shards, one joins late, two sweeps share them."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from ray._private import services
from ray.cluster_utils import Cluster

from orchestrator.activations.store import LEAST_KEPT
from tests.chaos.disturbed import BROKER, EXTRACTOR, TRIAL, Sweep
from tests.support.sweeps import SHARDS, SIZES, half_done
from tests.support.waiting import wait_until

pytestmark = pytest.mark.chaos
SMALLEST_STORE = 80 << 20
ACTIVATIONS_BYTES = int(SIZES["--shard-tokens"]) * 32 * 2
"""Of one shard at one hookpoint, of the tiny model in float16."""


@pytest.fixture(autouse=True)
def no_node_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray waits for half a minute until one that it starts is known, which a busy machine may need more than."""
    once = services.get_node

    def get_node(*which: str) -> object:
        def found() -> object:
            with contextlib.suppress(RuntimeError):
                return once(*which)
            return None

        return wait_until(found, "a node that starts")

    monkeypatch.setattr(services, "get_node", get_node)


@contextlib.contextmanager
def cluster(**head: int) -> Iterator[Cluster]:
    made = Cluster(
        initialize_head=True, connect=False,
        head_node_args={
            "wait": False, "num_cpus": 1, "object_store_memory": 200 << 20, "include_dashboard": False, **head,
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


def until_unused(*nodes: object) -> None:
    """Wait until none runs anything of a sweep: on a cluster a driver's workers are not below it."""
    titles = (TRIAL, EXTRACTOR, BROKER)
    wait_until(lambda: not any(runs_on(node, title) for node in nodes for title in titles), "the sweep's last process")


def holds_a_shard(nodes: Cluster, node: object) -> bool:
    """Whether tables that were made on the node are in its store; copies of others' do not count to Ray."""
    name = node.node_id  # type: ignore[attr-defined]
    there = nodes.global_state.total_resources_per_node().get(name, {}).get("object_store_memory", 0)
    free = nodes.global_state.available_resources_per_node().get(name, {}).get("object_store_memory", there)
    return bool(there - free >= ACTIVATIONS_BYTES)


def wide_model(tiny_model: Path, directory: Path) -> Path:
    """One of which a shard over two hookpoints is nearly half of the smallest store."""
    from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(AutoConfig.from_pretrained(tiny_model, hidden_size=512)).save_pretrained(directory)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(directory)
    return directory


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
    """The head has room for one trial, which stands still meanwhile: those of the lost node are left to the other.

    It has no memory for extractors, so that all shards are made, and held, on the node that is lost.
    """
    with cluster(memory=0) as nodes:
        lost = joined(nodes)
        sweep = Sweep(tiny_model, tmp_path, "nodes", RAY_ADDRESS=nodes.address).start()
        sweep.until(lambda: runs_on(nodes.head_node, TRIAL) and bool(half_done(sweep.directory)))
        with standing_still(those_on(nodes.head_node, TRIAL)):
            sweep.until(lambda: runs_on(lost, TRIAL) and runs_on(lost, EXTRACTOR) and holds_a_shard(nodes, lost))
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
        until_unused(nodes.head_node, late)


def test_two_sweeps_at_once_on_one_cluster_and_one_cache(undisturbed: Sweep, tiny_model: Path, tmp_path: Path) -> None:
    with cluster() as nodes:
        other = joined(nodes)
        cache = ["--cache-dir", str(tmp_path / "cache")]
        both = [Sweep(tiny_model, tmp_path, name, *cache, RAY_ADDRESS=nodes.address).start() for name in ("a", "b")]
        for sweep in both:
            sweep.end(0)
        for sweep in both:
            sweep.check(undisturbed)
        until_unused(nodes.head_node, other)


def test_an_object_store_far_too_small_is_slow_and_right(tiny_model: Path, tmp_path: Path) -> None:
    """As few shards as a sweep keeps are more than the store has; every one is wanted by two trials."""
    model = wide_model(tiny_model, tmp_path / "wide")
    large = ["--shard-dtype", "float32", "--expansion-factor", "1", "--variant", "topk"]
    plain = Sweep(model, tmp_path, "plain", *large).start()
    plain.end(0)
    with cluster(object_store_memory=SMALLEST_STORE) as nodes:
        sweep = Sweep(model, tmp_path, "small", *large, RAY_ADDRESS=nodes.address).start()
        sweep.end(0)
        sweep.check(plain)
        until_unused(nodes.head_node)
        session = Path(nodes.head_node.get_session_dir_path())
        assert list(session.glob("ray_spilled_objects_*")), "Ray makes it once there is something to spill"
    (counts,) = json.loads((sweep.directory / "counters.json").read_text(encoding="utf-8"))
    assert counts["shards_kept_bytes"] > SMALLEST_STORE
    assert counts["shards_evictions"] > 0
    # One trial runs after the other, and the second finds no more of the shards than are kept.
    assert counts["shards_again"] >= SHARDS - LEAST_KEPT
