"""The order in which a trial trains on tokens: a function of (seed, epoch) and of the cursor alone."""

from dataclasses import asdict, dataclass

import numpy as np
import torch

from orchestrator.activations.reader import PREFETCH, ShardReader
from orchestrator.activations.shards import Batch, Shard


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
