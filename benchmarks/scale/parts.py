"""What the simulated cluster is made of: lines that serve one after the other, nodes, and shards in their memory."""

from collections import OrderedDict
from dataclasses import dataclass, field

Copy = tuple[int, int]
"""Number of a shard as it was made, and position of its hookpoint."""


@dataclass
class Line:
    """Serves one after the other, in the order of asking; knows only when it will be free."""

    free: float = 0.0
    busy: float = 0.0

    def serve(self, now: float, seconds: float) -> float:
        """When what is asked for now is done."""
        self.free = max(self.free, now) + seconds
        self.busy += seconds
        return self.free


@dataclass
class Node:
    """One machine: its object store and its ways out of it."""

    capacity: int
    """Bytes of its object store."""
    out: Line = field(default_factory=Line)
    into: Line = field(default_factory=Line)
    disk: Line = field(default_factory=Line)
    made: int = 0
    """Bytes of shards that were computed here, which stay until the broker drops them."""
    copied: OrderedDict[Copy, float] = field(default_factory=OrderedDict)
    """When tables that were fetched from other nodes arrive here; the least recently read goes first."""
    copied_bytes: int = 0
    up: bool = True

    def copy_at(self, copy: Copy) -> float | None:
        """When a copy is here, None where there is none."""
        if copy in self.copied:
            self.copied.move_to_end(copy)
        return self.copied.get(copy)

    def keep_copy(self, copy: Copy, arrival: float, size: int) -> bool:
        """Keep what was fetched where there is room beside what was made here; as Ray does, older copies go for it."""
        while self.copied and self.made + self.copied_bytes + size > self.capacity:
            self.copied.popitem(last=False)
            self.copied_bytes -= size
        if self.made + size > self.capacity:
            return False
        self.copied[copy] = arrival
        self.copied_bytes += size
        return True

    def drop_copy(self, copy: Copy, size: int) -> None:
        """Free a copy, if it is here."""
        if self.copied.pop(copy, None) is not None:
            self.copied_bytes -= size

    def lose_everything(self) -> None:
        """The machine is gone."""
        self.up, self.made, self.copied_bytes = False, 0, 0
        self.copied.clear()


@dataclass
class Stored:
    """One shard from the moment its extraction is asked for."""

    number: int
    worker: int
    """Its extractor."""
    node: int
    ready: float
    spilled: bool = False
    """It found the store of its node full and is on that node's disk."""
    lost: bool = False
    evicted: bool = False
    holders: set[Copy] = field(default_factory=set)
    """Nodes that have copies, with positions of hookpoints."""


@dataclass
class Extractor:
    """Computes shards in the order in which they are asked for."""

    node: int
    line: Line = field(default_factory=Line)
    tasks: list[Stored] = field(default_factory=list)
    """Not known to be done."""
    given: int = 0
    """Tasks, done or not."""

    def queued(self, now: float) -> int:
        """Tasks that are not done."""
        if self.tasks and self.tasks[0].ready <= now:
            self.tasks = [task for task in self.tasks if task.ready > now]
        return len(self.tasks)
