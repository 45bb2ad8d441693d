"""The actor that keeps shards: a broker has extractors compute them and hands out references.

The object store is a cache. Shards are results of tasks, not `ray.put`, so Ray rebuilds those that a lost node held;
the broker drops the least recently used beyond its budget, and a dropped shard is computed again when asked for.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray

from orchestrator.activations.extractor import Extractor
from orchestrator.activations.kept import Kept, Key, next_worker
from orchestrator.activations.lost_shards import maker_of
from orchestrator.activations.tables import ShardSpec
from orchestrator.text.block_files import read_blocks

LEAST_KEPT = 3
"""The shard being read and those prefetched, which no budget may exclude."""
LOOK_SECONDS = 10.0
"""How often a broker looks how large the object store is."""
DEATHS = 20
"""Times an extractor's or the broker's process may die; one that always dies must not be started for ever."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoreConfig:
    """Which shards there are and what may be spent on them."""

    spec: ShardSpec
    tokens: dict[str, str]
    """Token file (.npy, int32 [N, L]) of each split."""
    blocks_per_shard: int
    shard_bytes: int
    """Bytes of one shard over all hookpoints."""
    max_bytes: int | None
    """Budget in the object store; None for half of what there is, which grows as nodes come."""
    stores: int
    """Brokers that share it."""
    cache_dir: str | None
    extractors: int
    extractor_options: dict[str, Any] = field(default_factory=dict)
    """Ray options of an extractor: its CPUs and GPUs."""
    extractor_threads: int = 1


class Broker:
    """Hands out shards by (split, index): computes each once while it is kept, prefetches, evicts the least recent."""

    def __init__(self, cfg: StoreConfig) -> None:
        self.cfg = cfg
        self.tokens = {split: read_blocks(Path(path)) for split, path in cfg.tokens.items()}
        options = {"max_restarts": DEATHS, "max_task_retries": DEATHS, **cfg.extractor_options}
        remote = ray.remote(Extractor).options(**options)
        self.extractors = [remote.remote(cfg.spec, cfg.cache_dir, cfg.extractor_threads) for _ in range(cfg.extractors)]
        self.queued, self.given = [0] * cfg.extractors, [0] * cfg.extractors
        self.kept: Kept[list[Any]] = Kept(self._most(), self._start)
        self.counts = {"computed": 0, "from_disk": 0, "again": 0}
        self.made: set[Key] = set()
        self.makers: set[str] = set()
        """The extractors that were given anything, in hex."""

    def _most(self) -> int:
        """Shards that fit into the budget."""
        self.looked = time.monotonic()
        if self.cfg.max_bytes is not None:
            return self.cfg.max_bytes // self.cfg.stores // self.cfg.shard_bytes
        there = int(ray.cluster_resources().get("object_store_memory", 0)) // 2
        return max(LEAST_KEPT, there // self.cfg.stores // self.cfg.shard_bytes)

    async def shard(self, split: str, index: int, upcoming: list[int]) -> list[Any]:
        """References to the tables of one shard, one per hookpoint; also starts the `upcoming` ones where they fit."""
        if time.monotonic() - self.looked > LOOK_SECONDS:
            self.kept.most = self._most()
        return self.kept.get(split, index, upcoming)

    async def forget(self, split: str, index: int, lost: str) -> None:
        """Drop a shard whose table `lost` (a reference in hex) cannot be had any more, so that it is computed anew.

        Of several readers that meet the same loss only the first has an effect.
        """
        key = (split, index)
        if any(reference.hex() == lost for reference in self.kept.shards.get(key, ())):
            self.kept.drop(key)

    async def employs(self, maker: str) -> bool:
        """Whether an extractor, in hex, makes shards for this broker, and not for one before it that died."""
        return maker in self.makers

    async def counters(self) -> dict[str, int]:
        """What happened since this process began: `shards_*` counts and bytes kept.

        What Ray makes again itself, of shards that a lost node held, is in none of them.
        """
        counts = {f"shards_{name}": value for name, value in (self.counts | self.kept.counts).items()}
        return counts | {"shards_kept_bytes": len(self.kept.shards) * self.cfg.shard_bytes}

    def _start(self, key: Key) -> list[Any]:
        split, index = key
        self.counts["again"] += key in self.made
        self.made.add(key)
        first = index * self.cfg.blocks_per_shard
        tokens_NL = np.array(self.tokens[split][first : first + self.cfg.blocks_per_shard])
        worker = next_worker(self.queued, self.given)
        results = len(self.cfg.spec.hookpoints) + 1
        tables: list[Any]
        *tables, summary = self.extractors[worker].extract.options(num_returns=results).remote(tokens_NL, first)
        self.makers.add(maker_of(tables[0]))
        self.queued[worker] += 1
        self.given[worker] += 1
        asyncio.get_running_loop().create_task(self._settle(key, tables, worker, summary))
        return tables

    async def _settle(self, key: Key, tables: list[Any], worker: int, summary: Any) -> None:
        try:
            done = await summary
            self.counts["computed" if done["computed"] else "from_disk"] += 1
        except ray.exceptions.RayError as error:
            log.error("shard %s: %s", key, error)
            if self.kept.shards.get(key) is tables:
                self.kept.drop(key)
        finally:
            self.queued[worker] -= 1


def start_broker(name: str, cfg: StoreConfig) -> Any:
    """Start the broker actor `name` on this node, where the token files are; it ends with the driver."""
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(),
        soft=False,  # a soft one is not asked where an actor takes no CPU: Ray draws a node
    )
    remote = ray.remote(Broker).options(
        name=name, num_cpus=0, max_restarts=DEATHS, max_task_retries=DEATHS, scheduling_strategy=here
    )
    return remote.remote(cfg)
