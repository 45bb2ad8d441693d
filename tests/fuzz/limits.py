"""What a reader may not do, whatever is in the files: take memory without end, or write elsewhere."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOM = 1 << 29
"""Bytes of addresses that reading a small file may take: libraries' arenas and a thread's stack are in it."""


@contextmanager
def little_memory() -> Iterator[None]:
    """Any larger allocation fails within, whether or not it would be touched."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
