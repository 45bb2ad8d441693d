"""Shard tables, their files, and the streams that read them, without Ray. Shape suffixes: N sequences, L positions,
D width."""

import numpy as np
import pytest
import torch

from orchestrator.activations.tables import open_shard
from tests.support.tables import D, L, N, table_of


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
