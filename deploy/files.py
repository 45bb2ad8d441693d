"""Files of this machine that a cluster configuration names: what is copied, the ssh key, the token."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOKEN = "auth_token"


def findings(config: dict[str, Any]) -> Iterator[str]:
    """Files that are not there or that others may read; relative paths are taken from here, as `ray up` does."""
    for there, here in (config.get("file_mounts") or {}).items():
        if Path(there).name == TOKEN:
            yield from _token(there, here)
        elif not Path(here).expanduser().exists():
            yield f"file_mounts {there!r}: {here!r} does not exist; run this where `ray up` will run"
    key = (config.get("auth") or {}).get("ssh_private_key")
    if key is not None:
        yield from _key(key)
        if config["provider"]["type"] == "aws":
            yield from _unnamed_key(config)


def _token(there: str, here: str) -> Iterator[str]:
    path = Path(here).expanduser()
    if not path.is_file() or not path.read_text(encoding="utf-8", errors="replace").strip():
        state = "is empty" if path.is_file() else "does not exist"
        yield f"file_mounts {there!r}: {here!r} {state}; `ray get-auth-token --generate` makes the token"
    elif others := _open_to_others(path):
        yield f"file_mounts {there!r}: {here!r} has mode {others}, and must be yours alone: chmod 600 {here}"


def _key(key: str) -> Iterator[str]:
    path = Path(key).expanduser()
    if not path.is_file():
        yield f"auth.ssh_private_key {key!r}: there is no such file"
    elif others := _open_to_others(path):
        yield f"auth.ssh_private_key {key!r}: has mode {others}, and ssh takes it if it is yours alone: chmod 600 {key}"


def _unnamed_key(config: dict[str, Any]) -> Iterator[str]:
    """With a key of one's own, Ray asks for its name at AWS in every node type."""
    for name, node in config.get("available_node_types", {}).items():
        node_config = node.get("node_config", {})
        if "KeyName" not in node_config and "UserData" not in node_config:
            yield f"available_node_types.{name}.node_config: must have a KeyName, since auth.ssh_private_key is given"


def _open_to_others(path: Path) -> str | None:
    """The mode of a file that others may read or write."""
    mode = stat.S_IMODE(path.stat().st_mode)
    return f"{mode:o}" if mode & 0o077 else None
