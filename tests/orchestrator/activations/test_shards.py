"""Shard tables, their files, and the streams that read them, without Ray. Shape suffixes: N sequences, L positions,
D width."""

import dataclasses
import itertools
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from orchestrator.activations.reader import ShardReader
from orchestrator.activations.shards import Batch, Shard, open_shard
from orchestrator.activations.stream import TrainStream
from orchestrator.activations.tables import ActivationError, ShardSpec, read_table, table_bytes, to_table, write_table
from orchestrator.language_models.loading import LanguageModel

HOOKPOINTS = ["layers.0.mlp", "layers.2"]
N, L, D = 3, 16, 32


@pytest.fixture(scope="module")
def tokens_NL() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 5000, (N, L), dtype=np.int32)


@pytest.fixture(scope="module")
def activations(tiny_model: Path, tokens_NL: np.ndarray) -> dict[str, Tensor]:
    return LanguageModel.load(str(tiny_model)).capture(torch.from_numpy(tokens_NL), HOOKPOINTS)


def table_of(values_NLD: Tensor, dtype: str = "float16", first_sequence: int = 0) -> pa.Table:
    tokens_NL = np.arange(values_NLD[..., 0].numel(), dtype=np.int32).reshape(values_NLD.shape[:2])
    return to_table(values_NLD, tokens_NL, "layers.2", dtype, first_sequence)


def column(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy()


# --- tables ---


@pytest.mark.parametrize(("dtype", "arrow"), [("float16", pa.float16()), ("float32", pa.float32())])
def test_columns_and_types(dtype: str, arrow: pa.DataType) -> None:
    table = table_of(torch.randn(N, L, D), dtype)
    assert table.schema == pa.schema(
        {
            "activation": pa.fixed_shape_tensor(arrow, [D]),
            "token_id": pa.int32(),
            "position": pa.int32(),
            "sequence_id": pa.int64(),
            "norm": pa.float32(),
        }
    )
    assert table.num_rows == N * L
    assert table.schema.metadata == {b"hookpoint": b"layers.2"}
    assert all(column.null_count == 0 for column in table.columns)


@pytest.mark.parametrize("hookpoint", HOOKPOINTS)
def test_a_table_holds_the_models_activations(
    hookpoint: str, activations: dict[str, Tensor], tokens_NL: np.ndarray
) -> None:
    table = to_table(activations[hookpoint], tokens_NL, hookpoint, "float16", first_sequence=40)
    expected_TD = activations[hookpoint].reshape(-1, D).float()
    stored_TD = table["activation"].chunk(0).to_numpy_ndarray()
    assert stored_TD.dtype == np.float16
    np.testing.assert_array_equal(stored_TD, expected_TD.half().numpy())
    np.testing.assert_array_equal(column(table, "token_id").reshape(N, L), tokens_NL)
    np.testing.assert_array_equal(column(table, "position").reshape(N, L), np.tile(np.arange(L), (N, 1)))
    np.testing.assert_array_equal(column(table, "sequence_id").reshape(N, L), np.repeat([[40], [41], [42]], L, axis=1))


@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_any_float_dtype_is_stored(given: torch.dtype) -> None:
    values_NLD = torch.randn(N, L, D, dtype=torch.float64).to(given)
    shard = open_shard(table_of(values_NLD, "float32"), exclude_first=False, massive_multiple=np.inf)
    np.testing.assert_array_equal(shard.values_TD, values_NLD.reshape(-1, D).float().numpy())


def test_norms_are_taken_before_rounding() -> None:
    values_NLD = torch.full((1, 2, D), 1e-9)  # float16 rounds these to 0
    table = table_of(values_NLD)
    assert not table["activation"].chunk(0).to_numpy_ndarray().any()
    np.testing.assert_allclose(column(table, "norm"), 1e-9 * np.sqrt(D), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none_are_refused(bad: float, dtype: str) -> None:
    values_NLD = torch.randn(N, L, D)
    values_NLD[0, 3, 5] = values_NLD[0, 3, 6] = values_NLD[2, 1, 0] = bad
    with pytest.raises(ActivationError, match=r"^hookpoint layers\.2: 2 of 48 tokens have NaN or inf activations$"):
        table_of(values_NLD, dtype)


@pytest.mark.parametrize("large", [65600.0, -1e6])
def test_float16_overflow_is_refused_with_advice(large: float) -> None:
    values_NLD = torch.randn(N, L, D)
    values_NLD[1, 1, 1] = large
    with pytest.raises(ActivationError, match=r"^hookpoint layers\.2: .*float16's 65504.*--shard-dtype float32"):
        table_of(values_NLD)
    shard = open_shard(table_of(values_NLD, "float32"), exclude_first=False, massive_multiple=np.inf)
    assert shard.values_TD[L + 1, 1] == large


def test_the_largest_float16_is_kept() -> None:
    values_NLD = torch.full((1, 2, D), 65504.0)
    assert np.isfinite(table_of(values_NLD)["activation"].chunk(0).to_numpy_ndarray()).all()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_predicted_bytes_are_the_tables(dtype: str) -> None:
    tables = [table_of(torch.randn(N, L, width), dtype) for width in (32, 48)]
    assert table_bytes(N * L, [32, 48], dtype) == sum(table.nbytes for table in tables)


# --- files ---


def test_a_table_comes_back_identical_and_mapped(tmp_path: Path) -> None:
    table = table_of(torch.randn(N, 512, D), first_sequence=7)
    write_table(table, tmp_path / "ab" / "shard.arrow")
    before = pa.total_allocated_bytes()
    found = read_table(tmp_path / "ab" / "shard.arrow")
    assert found is not None
    assert pa.total_allocated_bytes() - before < table.nbytes / 10
    assert found.equals(table, check_metadata=True)
    assert [path.name for path in (tmp_path / "ab").iterdir()] == ["shard.arrow"]


def test_a_mapped_table_outlives_its_file(tmp_path: Path) -> None:
    table = table_of(torch.randn(N, L, D))
    write_table(table, tmp_path / "shard.arrow")
    found = read_table(tmp_path / "shard.arrow")
    (tmp_path / "shard.arrow").unlink()
    assert found is not None and found.equals(table)


def test_there_is_nothing_where_there_is_no_file(tmp_path: Path) -> None:
    assert read_table(tmp_path / "shard.arrow") is None


@pytest.mark.parametrize("size", [0, 7, 1000])
def test_a_damaged_file_counts_as_none(size: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "shard.arrow"
    table = table_of(torch.randn(N, L, D))
    write_table(table, path)
    path.write_bytes(path.read_bytes()[:size])
    assert read_table(path) is None
    assert str(path) in caplog.text
    write_table(table, path)
    found = read_table(path)
    assert found is not None and found.equals(table)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond a kilobyte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("there", [False, True], ids=["absent", "present"])
def test_a_writer_that_fails_leaves_what_was_there(there: bool, tmp_path: Path) -> None:
    path = tmp_path / "ab" / "shard.arrow"
    table = table_of(torch.randn(N, L, D))
    if there:
        write_table(table, path)
    with full_disk(), pytest.raises(OSError, match="too large"):
        write_table(table_of(torch.randn(N, L, D)), path)
    found = read_table(path)
    assert (found is not None and found.equals(table)) if there else found is None
    assert list(path.parent.iterdir()) == [path][: int(there)]


def shard_file(
    *,
    tokens_NL: np.ndarray | None = None,
    hookpoint: str = "layers.2",
    model: str = "a",
    fingerprint: str = "f",
    hookpoints: tuple[str, ...] = ("layers.2",),
    dtype: str = "float16",
) -> Path:
    if tokens_NL is None:
        tokens_NL = np.arange(12, dtype=np.int32).reshape(3, 4)
    return ShardSpec(model, fingerprint, hookpoints, dtype).file(Path("cache"), hookpoint, tokens_NL)


@pytest.mark.parametrize(
    "other",
    [
        {"tokens_NL": np.arange(1, 13, dtype=np.int32).reshape(3, 4)},
        {"tokens_NL": np.arange(12, dtype=np.int32).reshape(4, 3)},
        {"tokens_NL": np.arange(8, dtype=np.int32).reshape(2, 4)},
        {"fingerprint": "g"},
        {"hookpoint": "layers.2:in"},
        {"dtype": "float32"},
    ],
    ids=["tokens", "context", "length", "fingerprint", "hookpoint", "dtype"],
)
def test_a_file_is_named_by_what_it_depends_on(other: dict[str, object]) -> None:
    assert shard_file() != shard_file(**other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        {"model": "/elsewhere/a"},
        {"hookpoints": ("layers.0", "layers.2")},
        {"tokens_NL": np.arange(24, dtype=np.int32).reshape(6, 4)[:3]},
        {"tokens_NL": np.asfortranarray(np.arange(12, dtype=np.int32).reshape(3, 4))},
    ],
    ids=["model", "other-hookpoints", "slice", "memory-layout"],
)
def test_a_file_is_named_by_nothing_else(other: dict[str, object]) -> None:
    assert shard_file() == shard_file(**other)  # type: ignore[arg-type]


# --- shards ---


def test_a_shard_is_a_view() -> None:
    table = table_of(torch.randn(N, L, D))
    shard = open_shard(table, exclude_first=True, massive_multiple=10.0)
    assert np.shares_memory(shard.values_TD, table["activation"].chunk(0).to_numpy_ndarray())
    assert not shard.values_TD.flags.writeable
    rows, none = shard.rows(np.array([5, 2, 5]))
    assert none is None
    np.testing.assert_array_equal(rows, shard.values_TD[[5, 2, 5]].astype(np.float32))
    rows.zero_()
    assert shard.values_TD[5].any()


NORMS = [900.0, 1.0, 2.0, 3.0, 1000.0, 4.0, 5.0, 31.0]  # two sequences of four; the usable ones have median 3.5


@pytest.mark.parametrize(
    ("exclude_first", "multiple", "usable", "massive"),
    [
        (True, 8.0, [1, 2, 3, 5, 6, 7], [7]),
        (True, 9.0, [1, 2, 3, 5, 6, 7], []),
        (True, 1.2, [1, 2, 3, 5, 6, 7], [6, 7]),
        (True, np.inf, [1, 2, 3, 5, 6, 7], []),
        (False, 8.0, list(range(8)), [0, 4]),
        (False, np.inf, list(range(8)), []),
    ],
)
def test_what_is_usable_and_what_is_massive(
    exclude_first: bool, multiple: float, usable: list[int], massive: list[int]
) -> None:
    values_NLD = torch.zeros(2, 4, D)
    values_NLD[..., 1] = torch.tensor(NORMS).reshape(2, 4)
    shard = open_shard(table_of(values_NLD), exclude_first=exclude_first, massive_multiple=multiple)
    assert np.flatnonzero(shard.usable_T).tolist() == usable
    assert np.flatnonzero(shard.massive_T).tolist() == massive
    assert shard.ordinary.tolist() == sorted(set(usable) - set(massive))


def test_targets_are_those_of_the_same_tokens() -> None:
    inputs, outputs = table_of(torch.randn(N, L, D)), table_of(torch.randn(N, L, D))
    shard = open_shard(inputs, outputs, exclude_first=True, massive_multiple=10.0)
    x, y = shard.rows(np.array([7, 1]))
    for found, table in ((x, inputs), (y, outputs)):
        expected = table["activation"].chunk(0).to_numpy_ndarray()[[7, 1]]
        np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_a_token_is_massive_as_input_or_as_target() -> None:
    plain, loud = torch.zeros(2, 4, D), torch.zeros(2, 4, D)
    plain[..., 1], loud[..., 1] = 1.0, torch.tensor(NORMS).reshape(2, 4)
    for tables in ((plain, loud), (loud, plain)):
        shard = open_shard(*map(table_of, tables), exclude_first=True, massive_multiple=8.0)
        assert np.flatnonzero(shard.massive_T).tolist() == [7]


# --- streams ---

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


def stream(seed: int = 0, cursor: dict[str, int] | None = None, reader: ShardReader = READER) -> TrainStream:
    return TrainStream(reader, len(SHARD_ROWS), seed, cursor)


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
