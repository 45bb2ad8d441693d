"""The order in which a trial reads tokens, and that it can be taken up anywhere."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from orchestrator.activations.reader import ShardReader
from orchestrator.activations.shards import ActivationError, Batch, Shard
from orchestrator.activations.stream import TrainStream
from orchestrator.activations.tables import open_shard
from tests.support.tables import table_of

SHARD_ROWS = (4, 4, 2)  # sequences of each shard: the last one is short


LENGTH = 8


MASSIVE = {3, 4, 40, 41, 42, 63, 79}


FIRST = set(range(0, sum(SHARD_ROWS) * LENGTH, LENGTH))


ALL = set(range(sum(SHARD_ROWS) * LENGTH))


ORDINARY = ALL - FIRST - MASSIVE


class TableReader(ShardReader):
    """Reads tables that the test made; `broker` is the list of them for each split."""

    def read(self, split: str, index: int, upcoming: list[int]) -> Shard:
        assert all(0 <= ahead < len(self.broker[split]) for ahead in upcoming)
        table = self.broker[split][index]
        return open_shard(table, exclude_first=self.exclude_first, massive_multiple=self.massive_multiple)


def numbered_tables() -> list[pa.Table]:
    """Tables in which every token's activation tells its number over all shards."""
    tables, first = [], 0
    for rows in SHARD_ROWS:
        numbers = torch.arange(first, first + rows * LENGTH).reshape(rows, LENGTH)
        values_NLD = torch.zeros(rows, LENGTH, 4)
        values_NLD[..., 0] = 1000 + numbers
        values_NLD[..., 1] = 1e6 * torch.isin(numbers, torch.tensor(sorted(MASSIVE)))
        tables.append(table_of(values_NLD, "float32"))
        first += rows * LENGTH
    return tables


def numbers(batch: Batch | Tensor) -> list[int]:
    x_BD = batch.x if isinstance(batch, Batch) else batch
    return (x_BD[:, 0] - 1000).int().tolist()


READER = TableReader({"train": numbered_tables(), "val": numbered_tables()}, 0, True, 10.0)


OPEN: list[TrainStream] = []


@pytest.fixture(autouse=True)
def close_streams() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def stream(seed: int = 0, cursor: dict[str, int] | None = None, reader: ShardReader = READER) -> TrainStream:
    OPEN.append(TrainStream(reader, len(SHARD_ROWS), seed, cursor))
    return OPEN[-1]


def taken(from_stream: TrainStream, batch: int) -> Iterator[list[int]]:
    while True:
        rows = numbers(from_stream.next_batch(batch))
        assert len(rows) == batch
        yield rows


def first_tokens(seed: int, count: int) -> list[int]:
    return numbers(stream(seed).next_batch(count))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_an_epoch_has_every_ordinary_token_once(seed: int) -> None:
    tokens = first_tokens(seed, 3 * len(ORDINARY))
    epochs = [tokens[i : i + len(ORDINARY)] for i in range(0, len(tokens), len(ORDINARY))]
    for epoch in epochs:
        assert len(epoch) == len(set(epoch))
        assert set(epoch) == ORDINARY
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_cursor_beyond_what_there_is_is_told() -> None:
    with pytest.raises(ValueError, match="cursor: 3 shards are done of 3"):
        stream(cursor={"position": len(SHARD_ROWS)})
    with pytest.raises(ValueError, match="cursor: 999 tokens are done of a shard of"):
        stream(cursor={"offset": 999}).next_batch(1)


@pytest.mark.parametrize("batch", [1, 7, 24, 28, 50, 200], ids=lambda batch: f"batch{batch}")
def test_batches_of_any_size_cut_the_same_order(batch: int) -> None:
    """Smaller than a shard, dividing none, larger than a shard, larger than an epoch."""
    count = 3 * len(ORDINARY)
    batches = itertools.islice(taken(stream(5), batch), -(-count // batch))
    assert list(itertools.chain(*batches))[:count] == first_tokens(5, count)


def test_the_order_depends_on_the_seed_alone() -> None:
    orders = [tuple(first_tokens(seed, 2 * len(ORDINARY))) for seed in range(20)]
    assert len(set(orders)) == 20
    assert orders == [tuple(first_tokens(seed, 2 * len(ORDINARY))) for seed in range(20)]


def test_the_order_is_that_of_earlier_versions() -> None:
    """A sweep that was interrupted may be continued with a newer version."""
    assert first_tokens(0, 12) == [76, 67, 73, 69, 70, 78, 65, 68, 71, 75, 77, 74]


def test_shards_are_shuffled_and_tokens_within_them() -> None:
    sizes = np.cumsum(SHARD_ROWS) * LENGTH
    shard_orders = set()
    for seed in range(20):
        shards = [int(np.searchsorted(sizes, token, side="right")) for token in first_tokens(seed, len(ORDINARY))]
        shard_orders.add(tuple(dict.fromkeys(shards)))
        assert len([1 for a, b in itertools.pairwise(shards) if a != b]) == len(SHARD_ROWS) - 1
    assert len(shard_orders) > 3


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 5), batch=st.integers(1, 90), before=st.integers(0, 40), restores=st.integers(1, 3))
def test_a_restored_stream_continues_exactly(seed: int, batch: int, before: int, restores: int) -> None:
    undisturbed, disturbed = stream(seed), stream(seed)
    for _ in range(restores):
        for _ in range(before):
            assert torch.equal(undisturbed.next_batch(batch).x, disturbed.next_batch(batch).x)
        disturbed = stream(seed, disturbed.state())
        assert disturbed.state() == undisturbed.state()
    for _ in range(5):
        assert torch.equal(undisturbed.next_batch(batch).x, disturbed.next_batch(batch).x)
        assert disturbed.state() == undisturbed.state()


@pytest.mark.parametrize("batch", [1, 5, 21, 40])
def test_restoring_at_every_batch_of_two_epochs(batch: int) -> None:
    expected = list(itertools.islice(taken(stream(1), batch), 2 * len(ORDINARY) // batch + 1))
    cursor: dict[str, int] | None = None
    for rows in expected:
        restored = stream(1, cursor)
        assert numbers(restored.next_batch(batch)) == rows
        cursor = restored.state()


@pytest.mark.parametrize("restored", [False, True], ids=["undisturbed", "restored-each-batch"])
@pytest.mark.parametrize("batch", [1, 9, len(ORDINARY)], ids=lambda batch: f"batch{batch}")
def test_excluded_tokens_are_counted_once_an_epoch(batch: int, restored: bool) -> None:
    current = stream(2)
    for step in range(1, 3 * len(ORDINARY) // batch + 1):
        current.next_batch(batch)
        if restored:
            current = stream(2, current.state())
        if step * batch % len(ORDINARY) == 0:
            epochs = step * batch // len(ORDINARY)
            assert current.state() == {
                "epoch": epochs, "position": 0, "offset": 0,
                "excluded_first": epochs * len(FIRST), "excluded_massive": epochs * len(MASSIVE - FIRST),
            }  # fmt: skip


def test_the_sample_to_start_from_moves_nothing() -> None:
    current = stream(3)
    sample = numbers(current.first_shard())
    tokens = numbers(current.next_batch(len(ORDINARY)))
    assert tokens == first_tokens(3, len(ORDINARY))
    assert sample == sorted(tokens[: len(sample)])
    assert current.state()["excluded_first"] == len(FIRST)


@pytest.mark.parametrize("batch", [1, 10, 1000], ids=lambda batch: f"batch{batch}")
def test_held_out_has_every_usable_token_once_in_order(batch: int) -> None:
    found = list(READER.held_out(len(SHARD_ROWS), batch))
    assert all(1 <= len(part.x) <= batch and len(part.x) == len(massive_B) for part, massive_B in found)
    tokens = [number for part, _ in found for number in numbers(part)]
    assert tokens == sorted(ALL - FIRST)
    massive = torch.cat([massive_B for _, massive_B in found])
    assert massive.dtype == torch.bool
    assert {token for token, is_massive in zip(tokens, massive, strict=True) if is_massive} == MASSIVE - FIRST


def test_nothing_is_left_out_where_nothing_should_be() -> None:
    reader = TableReader(READER.broker, 0, False, float("inf"))
    current = stream(0, reader=reader)
    assert set(numbers(current.next_batch(len(ALL)))) == ALL
    assert current.state()["excluded_first"] == current.state()["excluded_massive"] == 0
    assert [n for part, massive_B in reader.held_out(3, 16) for n in numbers(part.x[~massive_B])] == sorted(ALL)


class PairReader(TableReader):
    """The same tables as inputs, and as targets with every activation doubled."""

    def read(self, split: str, index: int, upcoming: list[int]) -> Shard:
        shard = super().read(split, index, upcoming)
        return dataclasses.replace(shard, targets_TD=2 * shard.values_TD)


def test_a_stream_of_pairs_keeps_them_together() -> None:
    reader = PairReader(READER.broker, 0, True, 10.0, 1)
    current = stream(0, reader=reader)
    batches = [current.first_shard(), *(current.next_batch(13) for _ in range(9))]
    batches += [part for part, _ in reader.held_out(3, 16)]
    for x, y in batches:
        assert torch.equal(2 * x, y)


class Watched:
    """Notes which shards are read, and fails at one of them."""

    def __init__(self, fails_at: int = 10**9) -> None:
        self.indices: list[int] = []
        self.fails_at = fails_at

    def read(self, split: str, index: int, upcoming: list[int]) -> Shard:
        if len(self.indices) == self.fails_at:
            raise ActivationError("values beyond float16")
        self.indices.append(index)
        return READER.read(split, index, upcoming)


@pytest.mark.parametrize("before", [0, 10, 30])
def test_no_shard_is_read_that_the_run_does_not_reach(before: int) -> None:
    whole = stream()
    whole.next_batch(before) if before else None
    cursor = whole.state()
    reader = Watched()
    with TrainStream(reader, 3, 0, cursor, tokens=2 * len(ORDINARY) - before) as current:
        current.next_batch(2 * len(ORDINARY) - before)
    assert len(reader.indices) == 6 - cursor["position"] - 3 * cursor["epoch"]


def test_a_run_of_one_token_reads_one_shard() -> None:
    reader = Watched()
    with TrainStream(reader, 3, 0, tokens=1) as current:
        current.next_batch(1)
        with pytest.raises(StopIteration):
            current.next_batch(1000)
    assert len(reader.indices) == 1


def test_what_reading_a_shard_raises_comes_when_its_tokens_are_due() -> None:
    with TrainStream(Watched(fails_at=2), 3, 0) as current:
        expected = stream()
        current.first_shard()
        first = len(expected.first_shard().x)
        assert torch.equal(current.next_batch(first).x, expected.next_batch(first).x)
        for _ in range(2):
            with pytest.raises(ActivationError, match="beyond float16"):
                current.next_batch(1)


def test_closing_in_the_middle_reads_nothing_more() -> None:
    reader = Watched()
    with TrainStream(reader, 3, 0) as current:
        current.next_batch(1)
    assert 1 <= len(reader.indices) <= 3


class Empty(Watched):
    """The same shards, of which only those `but` have tokens to train on; gives up where it is read without end."""

    def __init__(self, *but: int) -> None:
        super().__init__(fails_at=100)
        self.but = but

    def read(self, split: str, index: int, upcoming: list[int]) -> Shard:
        shard = super().read(split, index, upcoming)
        return shard if index in self.but else dataclasses.replace(shard, usable_T=np.zeros_like(shard.usable_T))


@pytest.mark.parametrize("tokens", [None, 1000])
@pytest.mark.parametrize("position", [0, 2])
def test_shards_of_which_none_can_be_trained_on_are_not_read_for_ever(position: int, tokens: int | None) -> None:
    reader = Empty()
    with TrainStream(reader, 3, 0, {"position": position}, tokens=tokens) as current:
        for _ in range(2):
            with pytest.raises(ActivationError, match=r"^none of the 3 training shards has a token to train on"):
                current.next_batch(1)
        assert len(reader.indices) == 5, "those of one epoch at least, wherever it begins"
        with pytest.raises(ActivationError, match=r"^none of the 3 training shards has a token to train on"):
            current.first_shard()


def test_a_shard_without_tokens_is_passed_over() -> None:
    """Also where four of them follow each other, the last two of an epoch and the first two of the next."""
    with TrainStream(Empty(1), 3, 5) as current, TrainStream(READER, 3, 5) as whole:
        tokens = len(READER.read("train", 1, []).ordinary)
        found = numbers(current.next_batch(12 * tokens))
        every = numbers(whole.next_batch(12 * len(ORDINARY)))
        assert set(numbers(current.first_shard())) == ORDINARY & set(range(32, 64))
    orders = [np.random.default_rng([5, epoch]).permutation(3).tolist() for epoch in range(12)]
    assert any(first[0] == second[2] == 1 for first, second in itertools.pairwise(orders))
    assert found == [token for token in every if 32 <= token < 64]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rows_are_those_stored_in_float32(dtype: str) -> None:
    """More of them than are converted at once, subnormal and signed zeros among them."""
    values_TD = np.random.default_rng(0).standard_normal((1000, 7)).astype(dtype)
    values_TD[::7] *= np.asarray(1e-7, dtype)
    values_TD[3] = -0.0
    values_TD.setflags(write=False)
    everything = np.ones(1000, dtype=bool)
    order = np.random.default_rng(1).permutation(1000)
    found = Shard(values_TD, everything, ~everything).rows(order).x
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy().view(np.int32), values_TD[order].astype(np.float32).view(np.int32))
