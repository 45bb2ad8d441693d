"""How a trial reads activations: shards in an order that depends only on (seed, epoch), batches only on the cursor."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import ray
import torch
from torch import Tensor

from orchestrator.activations.shards import ActivationError, Batch, Shard, open_shard

PREFETCH = 2
"""Shards asked for ahead of the one being read."""
ATTEMPTS = 5
"""Times a lost shard is asked for again before the trial gives up."""


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
        for attempt in range(ATTEMPTS):
            references = ray.get(self.broker.shard.remote(split, index, upcoming))
            wanted = [references[i] for i in (self.hookpoint, self.target) if i is not None]
            try:
                tables = ray.get(wanted)
                break
            except (ray.exceptions.ObjectLostError, ray.exceptions.RayActorError):
                if attempt + 1 == ATTEMPTS:
                    raise
                self.broker.forget.remote(split, index, wanted[0].hex())
        for table in tables:
            if isinstance(table, ActivationError):
                raise table
        return open_shard(*tables, exclude_first=self.exclude_first, massive_multiple=self.massive_multiple)

    def held_out(self, shards: int, batch_tokens: int) -> Iterator[tuple[Batch, Tensor]]:
        """All usable validation tokens in order, and whether each is massive, [B] bool."""
        for index in range(shards):
            shard = self.read("val", index, list(range(index + 1, min(index + 1 + PREFETCH, shards))))
            usable = np.flatnonzero(shard.usable_T)
            for start in range(0, len(usable), batch_tokens):
                rows = usable[start : start + batch_tokens]
                yield shard.rows(rows), torch.from_numpy(shard.massive_T[rows])


@dataclass
class Cursor:
    """Where a trial is in its stream of training tokens, and what it left out so far."""

    epoch: int = 0
    position: int = 0
    """Shards finished in this epoch."""
    offset: int = 0
    """Tokens taken from the current shard."""
    excluded_first: int = 0
    excluded_massive: int = 0


class TrainStream:
    """Batches of shuffled training tokens without end; `cursor` restores the stream exactly."""

    def __init__(self, reader: ShardReader, shards: int, seed: int, cursor: dict[str, int] | None = None) -> None:
        self.reader, self.shards, self.seed = reader, shards, seed
        self.cursor = Cursor(**(cursor or {}))
        self._shard: Shard | None = None
        self._order = np.empty(0, dtype=np.int64)

    def state(self) -> dict[str, int]:
        """The cursor as JSON."""
        return asdict(self.cursor)

    def first_shard(self) -> Batch:
        """Every ordinary token of the first shard of this seed's order, to initialise from."""
        shard = self._read(0, 0)
        return shard.rows(shard.ordinary)

    def next_batch(self, tokens: int) -> Batch:
        """The next `tokens` tokens."""
        parts: list[Batch] = []
        while tokens:
            shard = self._current()
            rows = self._order[self.cursor.offset : self.cursor.offset + tokens]
            parts.append(shard.rows(rows))
            self.cursor.offset += len(rows)
            tokens -= len(rows)
            if self.cursor.offset == len(self._order):
                self._finish_shard()
        inputs, targets = zip(*parts, strict=True)
        return Batch(torch.cat(inputs), None if targets[0] is None else torch.cat(targets))

    def _shard_order(self, epoch: int) -> list[int]:
        return list(np.random.default_rng([self.seed, epoch]).permutation(self.shards))

    def _read(self, epoch: int, position: int) -> Shard:
        order = self._shard_order(epoch)
        return self.reader.read("train", int(order[position]), [int(i) for i in order[position + 1 :][:PREFETCH]])

    def _current(self) -> Shard:
        if self._shard is None:
            self._shard = self._read(self.cursor.epoch, self.cursor.position)
            generator = np.random.default_rng([self.seed, self.cursor.epoch, self.cursor.position])
            self._order = generator.permutation(self._shard.ordinary)
            if self.cursor.offset == 0:
                self.cursor.excluded_first += int((~self._shard.usable_T).sum())
                self.cursor.excluded_massive += int(self._shard.massive_T.sum())
        return self._shard

    def _finish_shard(self) -> None:
        self._shard, self.cursor.offset, self.cursor.position = None, 0, self.cursor.position + 1
        if self.cursor.position == self.shards:
            self.cursor.epoch, self.cursor.position = self.cursor.epoch + 1, 0
