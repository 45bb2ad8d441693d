"""What tells the content of one model directory from another's."""

import functools
import hashlib
import re
from pathlib import Path

_CHUNK_BYTES = 1 << 24


def directory_hash(directory: Path) -> str:
    """Over configuration and weights. Raises ValueError where there is no configuration."""
    if not (directory / "config.json").is_file():
        raise ValueError("the directory has no config.json")
    files = [path for path in sorted(directory.iterdir()) if _is_content(path.name)]
    stats = [path.stat() for path in files]
    return _files_hash(tuple(zip(files, [(found.st_size, found.st_mtime_ns) for found in stats], strict=True)))


def _is_content(name: str) -> bool:
    return name == "config.json" or re.search(r"\.(safetensors|bin)(\.index\.json)?$", name) is not None


@functools.cache
def _files_hash(files: tuple[tuple[Path, tuple[int, int]], ...]) -> str:
    """Over every byte: half a second for each gigabyte, once in a process while sizes and times stay."""
    digest = hashlib.sha256()
    for path, (size, _) in files:
        digest.update(f"{path.name}:{size}\n".encode())
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()[:32]
