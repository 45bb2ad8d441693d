"""What `--storage` names: a directory that every node sees, or an address, of which every node has a copy of its own.

A path keeps one of an address's two slashes, `s3:/bucket/sweeps`, so both forms name the same place.
"""

import os
import re
from pathlib import Path

from orchestrator.names import digest, plain

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(.+)", re.DOTALL)
"""Two characters before the colon at least: a single one is a drive's letter."""
_SHOWN = 60


def address_of(storage: Path) -> str | None:
    """`s3://bucket/sweeps` and the like; None for a directory."""
    found = _ADDRESS.fullmatch(str(storage))
    return f"{found[1]}://{found[2]}" if found else None


def spelt(storage: Path) -> str:
    """`--storage` as it is typed."""
    return address_of(storage) or str(storage)


def home_of(storage: Path) -> Path:
    """The directory itself, or this machine's copy of what is at the address."""
    if (address := address_of(storage)) is None:
        return storage
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "pursuit-lab" / "storage" / f"{plain(address)[:_SHOWN]}-{digest(address)}"
