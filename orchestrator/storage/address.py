"""What `--storage` names: a directory that every node sees, or an address, of which every node has a copy of its own.

A path keeps one of an address's slashes, `s3:/bucket/sweeps`, so all forms name the same place; what two and three of
them would tell apart is told by the scheme.
"""

import os
import re
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.names import digest, plain
from orchestrator.redaction import redact

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(.+)", re.DOTALL)
"""Two characters before the colon at least: a single one is a drive's letter."""
_SHOWN = 60
_ROOTED = ("file", "fsspec+file", "fsspec+local")
"""Schemes without a host: what follows is a path from the root, and begins with a third slash."""
_WITH_HOST_AND_PORT = re.compile(r"(fsspec\+)?(hdfs|viewfs)")
"""Schemes whose host may be left out: only a port tells it from the first part of a path."""
_USERINFO = re.compile(r"[^/@]*@|[^/@:]*:(?!\d*/)[^@]*@")
"""Of what follows the slashes; a key may have slashes itself."""


def address_of(storage: Path) -> str | None:
    """`s3://bucket/sweeps` and the like; None for a directory. Raises UserError for a secret, and for no host."""
    if (found := _ADDRESS.fullmatch(str(storage))) is None:
        return None
    scheme, rest = found[1], found[2]
    address = f"{scheme}:///{rest}" if scheme in _ROOTED else f"{scheme}://{rest}"
    if _USERINFO.match(rest) or redact(address) != address:
        other = ", and the container after the host" if scheme.startswith("abfs") else ""
        raise UserError(
            f"storage '{scheme}://...': has a user or a secret in it, which files and logs would repeat; leave it to "
            f"the environment{other}"
        )
    if _WITH_HOST_AND_PORT.fullmatch(scheme) and not re.match(r"[^/]+:\d+(/|$)", rest):
        raise UserError(
            f"storage {address!r}: names no host with its port; {scheme}://HOST:PORT/PATH does, "
            f"with port 0 for a name service"
        )
    return address


def spelt(storage: Path) -> str:
    """`--storage` as it is typed."""
    return address_of(storage) or str(storage)


def home_of(storage: Path) -> Path:
    """The directory itself, or this machine's copy of what is at the address."""
    if (address := address_of(storage)) is None:
        return storage
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "pursuit-lab" / "storage" / f"{plain(address)[:_SHOWN]}-{digest(address)}"
