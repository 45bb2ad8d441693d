"""Shards as a trial sees them: views into memory that others own, and which of their tokens are left out.

Shape suffixes: B tokens of a batch, T tokens of a shard, D width.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

PREFETCH = 2
"""Shards asked for ahead of the one being read."""
CHUNK_ROWS = 128
"""Rows picked before they are converted: they are still in the core's cache then."""


class ActivationError(RuntimeError):
    """Activations that cannot be stored or trained on; every trial that reads them stops with this reason."""


class Batch(NamedTuple):
    """Activations of some tokens."""

    x: Tensor
    """Inputs, [B, D] float32."""
    y: Tensor | None = None
    """A transcoder's targets, [B, D] float32; None where the input is its own target."""

    def to(self, device: str | torch.device) -> "Batch":
        """The same on another device."""
        return Batch(self.x.to(device), None if self.y is None else self.y.to(device))


@dataclass(frozen=True)
class Shard:
    """Activations of consecutive tokens, which of them to train on, and which are used at all."""

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

    @property
    def parts(self) -> list[np.ndarray]:
        """Inputs, and a transcoder's targets."""
        return [self.values_TD] if self.targets_TD is None else [self.values_TD, self.targets_TD]

    @property
    def widths(self) -> list[int]:
        """Of inputs, and of a transcoder's targets."""
        return [values_TD.shape[1] for values_TD in self.parts]

    def rows(self, indices: np.ndarray) -> Batch:
        """Activations of some tokens, copied."""
        outs = [torch.empty(len(indices), width) for width in self.widths]
        self.copy_rows(indices, outs)
        return Batch(*outs)

    def copy_rows(self, indices: np.ndarray, outs: list[Tensor]) -> None:
        """Copy some tokens' activations into each of `outs` [B, D] float32 on the CPU, inputs first."""
        for start in range(0, len(indices), CHUNK_ROWS):
            chunk = indices[start : start + CHUNK_ROWS]
            for values_TD, out_BD in zip(self.parts, outs, strict=True):
                out_BD[start : start + len(chunk)].copy_(torch.from_numpy(values_TD[chunk]))


class Shards(Protocol):
    """Where shards come from."""

    def read(self, split: str, index: int, upcoming: list[int]) -> Shard:
        """One shard; `upcoming` are asked for next."""
