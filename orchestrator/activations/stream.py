"""The order in which a trial trains on tokens: a function of (seed, epoch) and of the cursor alone."""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from types import TracebackType

import numpy as np
import torch

from orchestrator.activations.ahead import Ahead
from orchestrator.activations.placement import Rows, placement_on
from orchestrator.activations.shards import PREFETCH, ActivationError, Batch, Shard, Shards

AHEAD = 2
"""Shards made ready while one is trained on."""


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


@dataclass(frozen=True)
class Ready:
    """A shard that can be trained on at once."""

    rows: Rows
    tokens: int
    """To be trained on."""
    widths: list[int]
    excluded_first: int
    excluded_massive: int


class TrainStream:
    """Batches of shuffled training tokens; `cursor` restores the stream exactly.

    A thread reads the next shards, no more of them than `tokens` tokens are in (all there are, again and again, unless
    given), and puts them on the device. To be closed, or used in a `with`. Raises ValueError for a cursor beyond the
    shards there are.
    """

    def __init__(
        self,
        reader: Shards,
        shards: int,
        seed: int,
        cursor: dict[str, int] | None = None,
        *,
        tokens: int | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.reader, self.shards, self.seed, self.tokens = reader, shards, seed, tokens
        self.device = torch.device(device)
        self.cursor = Cursor(**(cursor or {}))
        if self.cursor.position >= shards:
            raise ValueError(f"cursor: {self.cursor.position} shards are done of {shards}")
        self._ahead: Ahead[Ready] | None = None
        self._shard: Ready | None = None

    def __enter__(self) -> "TrainStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Read nothing more."""
        if self._ahead is not None:
            self._ahead.close()
        self._shard = None

    def state(self) -> dict[str, int]:
        """The cursor as JSON."""
        return asdict(self.cursor)

    def first_shard(self) -> Batch:
        """Every ordinary token of the first shard of this seed's order that has any, to initialise from.

        Raises ActivationError where none has.
        """
        for position in range(self.shards):
            shard = self._read(0, position)
            if len(ordinary_N := shard.ordinary):
                return shard.rows(ordinary_N).to(self.device)
        raise self._nothing_to_train_on()

    def next_batch(self, tokens: int) -> Batch:
        """The next `tokens` tokens. Raises what reading their shards raised, ActivationError where none has tokens."""
        outs: list[torch.Tensor] = []
        filled = 0
        while filled < tokens:
            shard, start = self._current(), self.cursor.offset
            if not outs:
                outs = [torch.empty(tokens, width, device=self.device) for width in shard.widths]
            count = min(tokens - filled, shard.tokens - start)
            shard.rows.copy(start, [out_BD[filled : filled + count] for out_BD in outs])
            filled += count
            self.cursor.offset += count
            if self.cursor.offset == shard.tokens:
                self._finish_shard()
        return Batch(*outs)

    def _read(self, epoch: int, position: int) -> Shard:
        order = [int(index) for index in np.random.default_rng([self.seed, epoch]).permutation(self.shards)]
        return self.reader.read("train", order[position], order[position + 1 :][:PREFETCH])

    def _current(self) -> Ready:
        if self._shard is None:
            if self._ahead is None:
                left = None if self.tokens is None else self.tokens + self.cursor.offset
                self._ahead = Ahead(self._to_come(self.cursor.epoch, self.cursor.position, left), AHEAD)
            self._shard = next(self._ahead)
            if self.cursor.offset > self._shard.tokens:
                raise ValueError(f"cursor: {self.cursor.offset} tokens are done of a shard of {self._shard.tokens}")
            if self.cursor.offset == 0:
                self.cursor.excluded_first += self._shard.excluded_first
                self.cursor.excluded_massive += self._shard.excluded_massive
        return self._shard

    def _to_come(self, epoch: int, position: int, tokens: int | None) -> Iterator[Ready]:
        """Shards from there on, until `tokens` tokens are in them. Raises ActivationError where none has any."""
        placement = placement_on(self.device)
        empty = 0
        for number in itertools.count(epoch * self.shards + position):
            if tokens is not None and tokens <= 0:
                return
            place = divmod(number, self.shards)
            shard = self._read(*place)
            order_N = np.random.default_rng([self.seed, *place]).permutation(shard.ordinary)
            empty = 0 if len(order_N) else empty + 1
            if empty == 2 * self.shards - 1:  # a whole epoch is among them, wherever they begin
                raise self._nothing_to_train_on()
            excluded = int((~shard.usable_T).sum()), int(shard.massive_T.sum())
            yield Ready(placement.place(shard, order_N), len(order_N), shard.widths, *excluded)
            if tokens is not None:
                tokens -= len(order_N)

    def _nothing_to_train_on(self) -> ActivationError:
        return ActivationError(
            f"none of the {self.shards} training shards has a token to train on: "
            "all are excluded as first positions or as massive"
        )

    def _finish_shard(self) -> None:
        self._shard, self.cursor.offset, self.cursor.position = None, 0, self.cursor.position + 1
        if self.cursor.position == self.shards:
            self.cursor.epoch, self.cursor.position = self.cursor.epoch + 1, 0
