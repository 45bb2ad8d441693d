"""Shards as a trial sees them: views into the tables, and which of their tokens are left out.

Shape suffixes: B tokens of a batch, T tokens of a shard, D width.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from orchestrator.activations.excluded_tokens import massive_tokens, usable_tokens


class Batch(NamedTuple):
    """Activations of some tokens."""

    x: Tensor
    """Inputs, [B, D] float32."""
    y: Tensor | None
    """A transcoder's targets, [B, D] float32; None where the input is its own target."""

    def to(self, device: str) -> "Batch":
        """The same on another device."""
        return Batch(self.x.to(device), None if self.y is None else self.y.to(device))


@dataclass(frozen=True)
class Shard:
    """Tables as a trial sees them: views into the object store and the tokens worth training on."""

    values_TD: np.ndarray
    """Activations, float16 or float32, read-only."""
    usable_T: np.ndarray
    """bool: not an excluded first position (massive tokens included)."""
    massive_T: np.ndarray
    """bool: usable, but of outlying norm, as input or as target."""
    targets_TD: np.ndarray | None = None
    """What a transcoder predicts, of the same tokens."""

    @property
    def ordinary(self) -> np.ndarray:
        """Indices of the tokens to train on, int64."""
        return np.flatnonzero(self.usable_T & ~self.massive_T)

    def rows(self, indices: np.ndarray) -> Batch:
        """Activations of some tokens, copied."""
        targets = None if self.targets_TD is None else torch.from_numpy(self.targets_TD[indices]).float()
        return Batch(torch.from_numpy(self.values_TD[indices]).float(), targets)


def open_shard(
    table: pa.Table, target: pa.Table | None = None, *, exclude_first: bool, massive_multiple: float
) -> Shard:
    """View a table, and a transcoder's `target` of the same tokens, without copying."""
    tables = [table] if target is None else [table, target]
    usable_T = usable_tokens(table["position"].to_numpy(), exclude_first)
    massive_T = massive_tokens([each["norm"].to_numpy() for each in tables], usable_T, massive_multiple)
    values = [each["activation"].chunk(0).to_numpy_ndarray() for each in tables]
    return Shard(values[0], usable_T, massive_T, *values[1:])
