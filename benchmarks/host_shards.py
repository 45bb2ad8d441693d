"""Shards in this process's memory, handed out as a sweep's object store would hand them out."""

from dataclasses import dataclass

from orchestrator.activations.shards import Shard


@dataclass(frozen=True)
class HostShards:
    """All of them, for a `TrainStream` or one after the other."""

    shards: list[Shard]

    def read(self, split: str, index: int, upcoming: list[int]) -> Shard:
        """One of them."""
        return self.shards[index]

    def __len__(self) -> int:
        return len(self.shards)

    @property
    def width(self) -> int:
        """Of the activations."""
        return self.shards[0].widths[0]
