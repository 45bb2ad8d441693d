"""Rows of shards where a trial trains are those stored; on a GPU too, where there is one."""

import numpy as np
import pytest
import torch

from orchestrator.activations.shards import Shard
from orchestrator.activations.stream import TrainStream

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
WIDTH, TOKENS = 24, (700, 300, 1000)


class Stored:
    """Shards whose activations tell shard and token."""

    def __init__(self, dtype: str, targets: bool) -> None:
        self.shards = []
        for index, tokens in enumerate(TOKENS):
            values_TD = np.random.default_rng(index).standard_normal((tokens, WIDTH)).astype(dtype)
            values_TD.setflags(write=False)
            everything = np.ones(tokens, dtype=bool)
            target_TD = values_TD[:, ::-1][:, :7] if targets else None
            self.shards.append(Shard(values_TD, everything, ~everything, target_TD))

    def read(self, split: str, index: int, upcoming: list[int]) -> Shard:
        return self.shards[index]


@pytest.mark.gpu
@pytest.mark.parametrize("targets", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("device", DEVICES)
def test_batches_hold_what_is_stored_in_the_order_of_the_seed(device: str, dtype: str, targets: bool) -> None:
    reader = Stored(dtype, targets)
    shards = np.random.default_rng([5, 0]).permutation(len(TOKENS))
    rows = [np.random.default_rng([5, 0, place]).permutation(TOKENS[shard]) for place, shard in enumerate(shards)]
    expected = [
        np.concatenate([part[order] for part, order in zip(parts, rows, strict=True)]).astype(np.float32)
        for parts in zip(*(reader.shards[shard].parts for shard in shards), strict=True)
    ]
    with TrainStream(reader, len(TOKENS), 5, tokens=2000, device=device) as stream:
        batches = [stream.next_batch(400) for _ in range(5)]
    for number, value in enumerate(expected):
        parts = [batch[number] for batch in batches]
        assert all(part.device.type == device and part.dtype == torch.float32 for part in parts)
        assert np.array_equal(torch.cat(parts).cpu().numpy(), value)
    assert targets or batches[0].y is None
