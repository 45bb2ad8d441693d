"""Which shards are kept, without Ray: what is made, what goes, and who makes it."""

import random

from orchestrator.activations.kept import Kept, next_worker


def kept(most: int) -> tuple[Kept[int], list[int], list[int]]:
    made: list[int] = []
    gone: list[int] = []

    def make(key: tuple[str, int]) -> int:
        made.append(key[1])
        return key[1]

    return Kept(most, make, gone.append), made, gone


def test_the_least_recently_asked_for_goes_first() -> None:
    shards, made, gone = kept(most=3)
    for index in (0, 1, 2, 0, 3, 1):
        assert shards.get("train", index, []) == index
    assert made == [0, 1, 2, 3, 1]
    assert gone == [1, 2]
    assert shards.counts == {"hits": 1, "misses": 5, "prefetched": 0, "evictions": 2}


def test_what_is_announced_is_made_where_it_fits_and_stays() -> None:
    shards, made, gone = kept(most=3)
    shards.get("train", 0, [1, 2, 3, 4])
    assert made == [0, 1, 2]
    shards.get("train", 5, [1, 6])
    assert made == [0, 1, 2, 5, 6]
    assert gone == [0, 2]
    assert shards.counts["prefetched"] == 3


def test_one_shard_is_always_kept_and_the_budget_never_exceeded() -> None:
    random.seed(0)
    for most in (0, 1, 2, 7):
        shards, made, gone = kept(most)
        for _ in range(200):
            index = random.randrange(12)
            assert shards.get("val", index, [(index + 1) % 12, (index + 2) % 12]) == index
            assert len(shards.shards) <= max(most, 1)
        assert len(made) - len(gone) == len(shards.shards)


def test_a_dropped_shard_is_made_anew() -> None:
    shards, made, _ = kept(most=3)
    shards.get("train", 0, [])
    shards.drop(("train", 0))
    shards.drop(("train", 9))
    shards.get("train", 0, [])
    assert made == [0, 0]


def test_work_goes_to_the_idle_and_evenly() -> None:
    assert next_worker([2, 1, 3], [0, 9, 0]) == 1
    assert next_worker([1, 1, 1], [4, 3, 3]) == 1
    given = [0, 0, 0]
    for _ in range(9):  # one at a time, as readers in step ask
        given[next_worker([0, 0, 0], given)] += 1
    assert given == [3, 3, 3]
