"""The packages of a lock file."""

from pathlib import Path


def locked(path: Path) -> dict[str, str]:
    """Version by name."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return dict(line.split("==", 1) for line in lines if "==" in line)
