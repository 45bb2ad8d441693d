"""Arrow tables of activations, in memory and on disk."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from orchestrator.activations.tables import (
    ActivationError,
    ShardSpec,
    open_shard,
    table_bytes,
    to_table,
    write_table,
)
from orchestrator.language_models.loading import LanguageModel
from tests.support.tables import D, L, N, read_back, table_of

HOOKPOINTS = ["layers.0.mlp", "layers.2"]


@pytest.fixture(scope="module")
def activations(tiny_model: Path, tokens_NL: np.ndarray) -> dict[str, Tensor]:
    return LanguageModel.load(str(tiny_model)).capture(torch.from_numpy(tokens_NL), HOOKPOINTS)


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
    found = read_back(tmp_path / "ab" / "shard.arrow", length=512)
    assert found is not None
    assert pa.total_allocated_bytes() - before < table.nbytes / 10
    assert found.equals(table, check_metadata=True)
    assert [path.name for path in (tmp_path / "ab").iterdir()] == ["shard.arrow"]


def test_a_mapped_table_outlives_its_file(tmp_path: Path) -> None:
    table = table_of(torch.randn(N, L, D))
    write_table(table, tmp_path / "shard.arrow")
    found = read_back(tmp_path / "shard.arrow")
    (tmp_path / "shard.arrow").unlink()
    assert found is not None and found.equals(table)


def test_there_is_nothing_where_there_is_no_file(tmp_path: Path) -> None:
    assert read_back(tmp_path / "shard.arrow") is None


@pytest.mark.parametrize("size", [0, 7, 1000])
def test_a_damaged_file_counts_as_none(size: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "shard.arrow"
    table = table_of(torch.randn(N, L, D))
    write_table(table, path)
    path.write_bytes(path.read_bytes()[:size])
    assert read_back(path) is None
    assert str(path) in caplog.text
    write_table(table, path)
    found = read_back(path)
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
    found = read_back(path)
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
