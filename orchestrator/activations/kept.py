"""Which shards are kept: each is made when first asked for or announced, and the least recently used goes first.

Free of Ray, so that a simulation of a cluster keeps and drops exactly what a sweep would.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Key = tuple[str, int]
"""Split and index of a shard."""
T = TypeVar("T")


class Kept(Generic[T]):
    """At most `most` shards, always the one asked for last; `make` begins one, and what it returns stands for it.

    `evicted` is told what had to go.
    """

    def __init__(self, most: int, make: Callable[[Key], T], evicted: Callable[[T], None] | None = None) -> None:
        self.most, self._make, self._evicted = most, make, evicted
        self.shards: OrderedDict[Key, T] = OrderedDict()
        self.counts = dict.fromkeys(("hits", "misses", "prefetched", "evictions"), 0)

    def get(self, split: str, index: int, upcoming: Sequence[int]) -> T:
        """One shard; also begins the `upcoming` ones where they fit beside it."""
        key, shards = (split, index), self.shards
        found = key in shards
        self.counts["hits" if found else "misses"] += 1
        if not found:
            self._begin(key)
        shards.move_to_end(key)
        wanted = [(split, ahead) for ahead in upcoming[: max(self.most - 1, 0)]]
        for ahead in wanted:
            if ahead in shards:
                shards.move_to_end(ahead)
        for ahead in wanted:
            if ahead not in shards:
                self.counts["prefetched"] += 1
                self._begin(ahead)
        return shards[key]

    def drop(self, key: Key) -> None:
        """Forget one, so that it is made anew."""
        self.shards.pop(key, None)

    def _begin(self, key: Key) -> None:
        while self.shards and len(self.shards) + 1 > self.most:
            _, shard = self.shards.popitem(last=False)
            self.counts["evictions"] += 1
            if self._evicted:
                self._evicted(shard)
        self.shards[key] = self._make(key)


def next_worker(queued: Sequence[int], given: Sequence[int]) -> int:
    """Who computes the next shard: whoever has the fewest queued, and of several whoever was given the fewest so far.

    Shards stay where they are computed. Were it the first of several, one node would hold and send nearly all of them.
    """
    return min(range(len(queued)), key=lambda worker: (queued[worker], given[worker]))
