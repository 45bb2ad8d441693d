"""Held-out tokens as scores see them: every one, also those that are never trained on, and where each stands.

Shape suffixes: B tokens of a batch, D width.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from orchestrator.activations.reader import held_out_shards
from orchestrator.activations.shards import Shard, Shards


@dataclass(frozen=True)
class HeldOut:
    """Consecutive tokens of the held-out text."""

    x_BD: Tensor
    """What the coder reads, float32."""
    y_BD: Tensor
    """What it reconstructs or predicts, float32."""
    places_B: Tensor
    """Their numbers in the held-out text, int64: sequence times length plus position."""
    ordinary_B: Tensor
    """bool: of the kind that is trained on."""
    massive_B: Tensor
    """bool: of outlying norm. What is neither ordinary nor massive is a first position left out."""
    quartile_B: Tensor
    """Of the target's norm among the ordinary tokens of its shard, 0 to 3, int64."""


@dataclass(frozen=True)
class HeldOutTokens:
    """All held-out tokens of one trial, in order."""

    reader: Shards
    shards: int
    batch_tokens: int

    def __iter__(self) -> Iterator[HeldOut]:
        first = 0
        for shard in held_out_shards(self.reader, self.shards):
            quartile_T = _quartiles(shard)
            tokens = len(shard.usable_T)
            for start in range(0, tokens, self.batch_tokens):
                rows = np.arange(start, min(start + self.batch_tokens, tokens))
                x_BD, y_BD = shard.rows(rows)
                yield HeldOut(
                    x_BD,
                    x_BD if y_BD is None else y_BD,
                    torch.from_numpy(rows + first),
                    torch.from_numpy((shard.usable_T & ~shard.massive_T)[rows]),
                    torch.from_numpy(shard.massive_T[rows]),
                    torch.from_numpy(quartile_T[rows]),
                )
            first += tokens


def _quartiles(shard: Shard) -> np.ndarray:
    """int64 [T]."""
    values_TD = shard.values_TD if shard.targets_TD is None else shard.targets_TD
    norm_T = np.sqrt(np.einsum("td,td->t", values_TD, values_TD, dtype=np.float32))
    edges = np.quantile(norm_T[shard.ordinary], [0.25, 0.5, 0.75])
    return np.asarray(np.searchsorted(edges, norm_T), np.int64)
