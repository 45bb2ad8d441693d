"""Which shards are kept: each is made when first asked for or announced, and the least recently used goes first.

What was announced and not yet asked for stays while anything else can go: else readers that want more than there is
room for drop each other's announcements, and more is made than is ever read. What a trial that failed for good had
announced therefore stays to the end.

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
        self._announced: set[Key] = set()
        """Those that nobody has asked for yet."""
        self.counts = dict.fromkeys(("hits", "misses", "prefetched", "evictions"), 0)

    def get(self, split: str, index: int, upcoming: Sequence[int]) -> T:
        """One shard; also begins the `upcoming` ones where they fit beside it."""
        key, shards = (split, index), self.shards
        self.counts["hits" if key in shards else "misses"] += 1
        if key not in shards:
            while shards and len(shards) + 1 > self.most:
                self._evict(self._spent() or next(iter(shards)))
            shards[key] = self._make(key)
        self._announced.discard(key)
        shards.move_to_end(key)
        self._announce([(split, ahead) for ahead in upcoming[: max(self.most - 1, 0)]], key)
        return shards[key]

    def drop(self, key: Key) -> None:
        """Forget one, so that it is made anew."""
        self.shards.pop(key, None)
        self._announced.discard(key)

    def _announce(self, wanted: Sequence[Key], asked: Key) -> None:
        """Begin those that are not there, as far as others than `asked` can go for them."""
        for key in wanted:
            if key in self.shards:
                self.shards.move_to_end(key)
        for key in (key for key in wanted if key not in self.shards):
            while len(self.shards) + 1 > self.most:
                if (spent := self._spent(asked)) is None:
                    return
                self._evict(spent)
            self.counts["prefetched"] += 1
            self.shards[key] = self._make(key)
            self._announced.add(key)

    def _spent(self, but: Key | None = None) -> Key | None:
        """The least recently used that somebody has asked for."""
        return next((key for key in self.shards if key not in self._announced and key != but), None)

    def _evict(self, key: Key) -> None:
        shard = self.shards.pop(key)
        self._announced.discard(key)
        self.counts["evictions"] += 1
        if self._evicted:
            self._evicted(shard)


def next_worker(queued: Sequence[int], given: Sequence[int]) -> int:
    """Who computes the next shard: whoever has the fewest queued, and of several whoever was given the fewest so far.

    Shards stay where they are computed. Were it the first of several, one node would hold and send nearly all of them.
    """
    return min(range(len(queued)), key=lambda worker: (queued[worker], given[worker]))
