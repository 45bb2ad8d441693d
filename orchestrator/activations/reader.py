"""How a trial reads the shards of its hookpoint, and the held-out ones in order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orchestrator.activations.lost_shards import tables_of
from orchestrator.activations.shards import PREFETCH, ActivationError, Batch, Shard, Shards
from orchestrator.activations.tables import open_shard


def held_out_shards(reader: Shards, shards: int) -> Iterator[Shard]:
    """Those of the validation tokens, in order."""
    for index in range(shards):
        yield reader.read("val", index, list(range(index + 1, min(index + 1 + PREFETCH, shards))))


@dataclass(frozen=True)
class ShardReader:
    """Zero-copy access to one hookpoint's shards of one model, and to those of a transcoder's target."""

    broker: Any
    hookpoint: int
    """Position of the hookpoint among those the broker keeps."""
    exclude_first: bool
    massive_multiple: float
    target: int | None = None
    """Position of the target's hookpoint; None where the input is its own target."""

    def read(self, split: str, index: int, upcoming: list[int]) -> Shard:
        """One shard; blocks until it is computed. Raises ActivationError where its activations are unusable."""
        wanted = [place for place in (self.hookpoint, self.target) if place is not None]
        tables = tables_of(self.broker, split, index, wanted, upcoming)
        for table in tables:
            if isinstance(table, ActivationError):
                raise table
        return open_shard(*tables, exclude_first=self.exclude_first, massive_multiple=self.massive_multiple)

    def held_out(self, shards: int, batch_tokens: int) -> Iterator[tuple[Batch, Tensor]]:
        """All usable validation tokens in order, and whether each is massive, [B] bool."""
        for shard in held_out_shards(self, shards):
            usable = np.flatnonzero(shard.usable_T)
            for start in range(0, len(usable), batch_tokens):
                rows = usable[start : start + batch_tokens]
                yield shard.rows(rows), torch.from_numpy(shard.massive_T[rows])
