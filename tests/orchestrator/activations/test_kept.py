"""Which shards are kept, without Ray: what is made, what goes, and who makes it."""

import random

from hypothesis import given
from hypothesis import strategies as st

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
    shards.get("train", 5, [1, 6])  # 2 is waited for, so 6 has to wait
    assert (made, gone) == ([0, 1, 2, 5], [0])
    shards.get("train", 2, [])
    shards.get("train", 5, [6])
    assert (made, gone) == ([0, 1, 2, 5, 6], [0, 2])
    assert shards.counts["prefetched"] == 3


@given(
    most=st.integers(1, 12), ahead=st.integers(0, 4),
    paces=st.lists(st.integers(1, 5), min_size=1, max_size=8), seed=st.integers(0, 9),
)  # fmt: skip
def test_readers_of_any_pace_have_no_more_made_than_they_read(
    most: int, ahead: int, paces: list[int], seed: int
) -> None:
    """Each with an order of its own, however little room there is: sharing is never worse than each on its own."""
    shards, made, gone = kept(most)
    orders = [random.Random(seed + reader).sample(range(12), 12) for reader in range(len(paces))]
    done = [0] * len(paces)
    for turn in range(12 * max(paces)):
        for reader, pace in enumerate(paces):
            if turn % pace == 0 and done[reader] < 12:
                here, *later = orders[reader][done[reader] :]
                assert shards.get("train", here, later[:ahead]) == here
                done[reader] += 1
                assert len(made) - len(gone) <= most
    assert done == [12] * len(paces)
    assert len(made) <= 12 * len(paces)


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
