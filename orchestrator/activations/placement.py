"""Where a trial finds the rows of a shard: in host memory as it is, or in a copy on its GPU made while it trained.

Shape suffixes: B tokens of a batch, T tokens of a shard, N tokens to train on, D width.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from orchestrator.activations.shards import Shard


class Rows(Protocol):
    """The tokens of one shard, in the order in which they are trained on."""

    def copy(self, start: int, outs: list[Tensor]) -> None:
        """Fill each of `outs` [B, D] float32, inputs first, with the tokens from the `start`-th on."""


class Placement(Protocol):
    """Puts shards where a trial trains; called in a thread of its own."""

    def place(self, shard: Shard, order_N: np.ndarray) -> Rows:
        """A shard of which tokens `order_N` are trained on."""


def placement_on(device: torch.device) -> Placement:
    """The one for this device."""
    return OnGpu(device) if device.type == "cuda" else InHostMemory()


class InHostMemory:
    """Nothing is copied before a batch is."""

    def place(self, shard: Shard, order_N: np.ndarray) -> "HostRows":
        """Views."""
        return HostRows(shard, order_N)


@dataclass(frozen=True)
class HostRows:
    """Views of memory that others own."""

    shard: Shard
    order_N: np.ndarray

    def copy(self, start: int, outs: list[Tensor]) -> None:
        """As `Rows` says."""
        self.shard.copy_rows(self.order_N[start : start + len(outs[0])], outs)


class OnGpu:
    """Copies in the stored dtype through pinned buffers, on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.buffers = [PinnedBuffer(), PinnedBuffer()]

    def place(self, shard: Shard, order_N: np.ndarray) -> "GpuRows":
        """Copies that are under way when this returns."""
        with torch.cuda.stream(self.stream):
            parts = [self._sent(values) for values in (*shard.parts, order_N)]
            return GpuRows(parts[:-1], parts[-1], self.stream.record_event())

    def _sent(self, values: np.ndarray) -> Tensor:
        self.buffers.reverse()  # one is filled while the GPU reads the other
        return self.buffers[0].send(values, self.device)


class PinnedBuffer:
    """Page-locked memory, which a GPU reads by itself, kept for the next array."""

    def __init__(self) -> None:
        self.memory = torch.empty(0, dtype=torch.uint8)
        self.read = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def send(self, values: np.ndarray, device: torch.device) -> Tensor:
        """Start to copy an array to the device, on the current stream."""
        self.read.synchronize()  # at once where nothing was ever sent
        if len(self.memory) < values.nbytes:
            self.memory = torch.empty(values.nbytes, dtype=torch.uint8, pin_memory=True)
        pinned = self.memory[: values.nbytes].numpy().view(values.dtype).reshape(values.shape)
        np.copyto(pinned, values)
        sent = torch.from_numpy(pinned).to(device, non_blocking=True)
        self.read.record()
        return sent


@dataclass(frozen=True)
class GpuRows:
    """Copies on the GPU, of the order too."""

    parts: list[Tensor]
    order_N: Tensor
    arrived: torch.cuda.Event

    def copy(self, start: int, outs: list[Tensor]) -> None:
        """As `Rows` says; the host waits for nothing."""
        stream = torch.cuda.current_stream(self.order_N.device)
        stream.wait_event(self.arrived)
        for values_TD, out_BD in zip(self.parts, outs, strict=True):
            out_BD.copy_(values_TD.index_select(0, self.order_N[start : start + len(out_BD)]))
        for sent in (*self.parts, self.order_N):
            sent.record_stream(stream)  # they were allocated on another one
