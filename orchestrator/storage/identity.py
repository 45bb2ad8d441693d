"""Which of the sweeps that had a name, one after another, a machine's copy is of; where a storage is an address."""

import re
import secrets
from pathlib import Path

from orchestrator.names import cut
from orchestrator.storage.address import home_of

IDENTITY_FILE = "identity"
"""In a sweep's directory; versions before 2026.12 wrote none."""


def new_identity() -> str:
    """What no other sweep has."""
    return secrets.token_hex(8)


def identity_of(directory: Path) -> str:
    """What its claim wrote; empty where there is none."""
    path = directory / IDENTITY_FILE
    said = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return said if re.fullmatch(r"[0-9a-f]{16}", said) else ""


def copy_of(storage: Path, name: str, identity: str) -> Path:
    """This machine's copy of a sweep: the driver's where that is here too, otherwise one that no other sweep has."""
    drivers = home_of(storage) / name
    if not identity or identity_of(drivers) == identity:
        return drivers
    return drivers.with_name(cut(f".{identity}.{name}"))
