"""The simulated cluster: who sits where, and the shards in its object stores under the broker's own policy."""

import random
from dataclasses import dataclass
from typing import Literal

from benchmarks.scale.parts import Copy, Extractor, Line, Node, Stored
from benchmarks.scale.rates import Rates
from benchmarks.scale.workload import Workload
from orchestrator.activations.kept import Kept, Key, next_worker
from orchestrator.grid.hardware import Hardware
from orchestrator.grid.shares import share

GPUS_PER_NODE = 8
Placement = Literal["packed", "spread"]


@dataclass(frozen=True)
class Layout:
    """Which node every extractor and every trial's GPU is on."""

    gpus: int
    nodes: int
    extractors: list[int]
    slots: list[int]


def layout(gpus: int, extractors: int | None = None, placement: Placement = "packed") -> Layout:
    """As `orchestrator.grid.shares` divides so many GPUs, or with another number of extractors.

    packed: Ray fills half of a node with actors before it takes the next. spread: one node after the other.
    """
    nodes = -(-gpus // GPUS_PER_NODE)
    shares = share(Hardware(cpus=16 * gpus, gpus=gpus, nodes=nodes, cluster=True), None)
    count = extractors or shares.extractors
    half = GPUS_PER_NODE // 2
    places = [number % nodes if placement == "spread" else number // half % nodes for number in range(count)]
    free = [min(GPUS_PER_NODE, gpus - node * GPUS_PER_NODE) - places.count(node) for node in range(nodes)]
    slots = [node for place in range(GPUS_PER_NODE) for node in range(nodes) if free[node] > place]
    return Layout(gpus, nodes, places, slots)


class Store:
    """The shards of a simulated sweep; `orchestrator.activations.kept` decides which there are."""

    def __init__(self, where: Layout, work: Workload, rates: Rates, budget: float | None, seed: int) -> None:
        self.work, self.rates = work, rates
        capacity = int(rates["node_store_bytes"])
        self.nodes = [Node(capacity) for _ in range(where.nodes)]
        self.extractors = [Extractor(node) for node in where.extractors]
        total = capacity * where.nodes / 2 if budget is None else budget  # half, as orchestrator.driver.brokers has it
        self.kept: Kept[Stored] = Kept(int(min(total // work.shard_bytes, 1 << 40)), self._make, self._evict)
        self.broker = Line()
        self.random = random.Random(seed)
        self.now = 0.0
        self.distinct: set[Key] = set()
        self.made = self.rebuilt = self.network_bytes = self.spilled_bytes = 0

    def ask(self, now: float, split: str, index: int, upcoming: list[int]) -> tuple[Stored, float]:
        """The shard that the broker answers with, and when."""
        self.now = now
        answer = self.broker.serve(now, self.rates["broker_call_seconds"])
        return self.kept.get(split, index, upcoming), answer

    def fetch(self, stored: Stored, hookpoint: int, node: int, now: float) -> float:
        """When a reader on a node has its table of a shard that is ready. A copy on the node itself is preferred."""
        size, seconds = self.work.table_bytes, self.work.table_bytes / self.rates["network_bytes_per_second"]
        copy: Copy = (stored.number, hookpoint)
        if not stored.spilled and stored.node == node:
            return now
        if (arrival := self.nodes[node].copy_at(copy)) is not None:
            return max(now, arrival)
        if stored.spilled:
            now = self.nodes[stored.node].disk.serve(now, size / self.rates["disk_bytes_per_second"])
        if stored.node == node:
            return now
        holders = [stored.node, *sorted(holder for holder, point in stored.holders if point == hookpoint)]
        here = [each for each in holders if each == stored.node or self._has(each, copy, now)]
        source = self.nodes[self.random.choice(here)]
        arrival = max(source.out.serve(now, seconds), self.nodes[node].into.serve(now, seconds))
        self.network_bytes += size
        if self.nodes[node].keep_copy(copy, arrival, size):
            stored.holders.add((node, hookpoint))
        return arrival

    def rebuild(self, stored: Stored, now: float) -> None:
        """Compute again what a lost node had, as Ray does when it is next read."""
        self.now, stored.lost, stored.spilled = now, False, False
        self.rebuilt += 1
        self._enqueue(stored)

    def lose(self, node: int, now: float, back: float) -> None:
        """A node is gone with all it has; its extractors go on with their tasks when it is back."""
        self.nodes[node].lose_everything()
        for stored in self.kept.shards.values():
            stored.holders = {holder for holder in stored.holders if holder[0] != node}
            if stored.node == node and stored.ready <= now:
                stored.lost = True
            elif stored.node == node and not stored.spilled:
                self.nodes[node].made += self.work.shard_bytes
        for extractor in self.extractors:
            if extractor.node == node:
                extractor.queued(now)
                extractor.line.free = back
                for stored in extractor.tasks:
                    stored.ready = extractor.line.serve(back, self.work.extract_seconds)

    def _has(self, node: int, copy: Copy, now: float) -> bool:
        return self.nodes[node].copied.get(copy, now + 1) <= now

    def _make(self, key: Key) -> Stored:
        self.distinct.add(key)
        self.made += 1
        queued = [extractor.queued(self.now) for extractor in self.extractors]
        worker = next_worker(queued, [extractor.given for extractor in self.extractors])
        self.extractors[worker].given += 1
        stored = Stored(self.made, worker, self.extractors[worker].node, 0.0)
        self._enqueue(stored)
        return stored

    def _enqueue(self, stored: Stored) -> None:
        extractor, node = self.extractors[stored.worker], self.nodes[stored.node]
        stored.ready = extractor.line.serve(self.now, self.work.extract_seconds)
        extractor.queued(self.now)
        extractor.tasks.append(stored)
        if stored.evicted:  # it is computed for readers that wait, and goes with them
            return
        if node.made + self.work.shard_bytes > node.capacity:
            # Ray would spill an older one; the bytes are the same.
            stored.spilled = True
            self.spilled_bytes += self.work.shard_bytes
            node.disk.serve(stored.ready, self.work.shard_bytes / self.rates["disk_bytes_per_second"])
        else:
            node.made += self.work.shard_bytes

    def _evict(self, stored: Stored) -> None:
        stored.evicted = True
        if not stored.spilled and not stored.lost:
            self.nodes[stored.node].made -= self.work.shard_bytes
        for node, hookpoint in stored.holders:
            self.nodes[node].drop_copy((stored.number, hookpoint), self.work.table_bytes)
