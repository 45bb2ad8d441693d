"""Command lines that are printed so that a person can paste them, quoted for a shell."""

import shlex
import sys
from pathlib import Path

from orchestrator.grid.base_config import BaseConfig
from orchestrator.redaction import redact
from orchestrator.storage.address import spelt
from orchestrator.tracking.addresses import sqlite_uri

PROJECT = Path(__file__).resolve().parents[2]


def resume_command(cfg: BaseConfig) -> str:
    """Continues this sweep, from the directory where the script was started."""
    return " ".join([*_this_script(), _flag("--storage", spelt(cfg.storage)), _flag("--resume", str(cfg.name))])


def ui_command(storage: Path) -> str:
    """Shows what is under `storage` in MLflow, from the project's directory."""
    if storage.resolve() == PROJECT / "runs":
        return "make ui"
    return f"make ui {shlex.quote('STORAGE=' + str(storage.resolve()).replace('$', '$$'))}"  # make reads $ too


def show_command(uri: str, storage: Path) -> str | None:
    """Shows the store that `uri` names in MLflow; None where a server does so already."""
    if uri == sqlite_uri(storage):
        return ui_command(storage)
    if uri.startswith(("http://", "https://", "databricks")):
        return None
    return f"{_shell_path(Path(sys.executable))} -m mlflow ui --backend-store-uri {shlex.quote(redact(uri))}"


def _this_script() -> list[str]:
    return [_shell_path(Path(sys.executable)), _shell_path(Path(sys.argv[0]))]


def _shell_path(path: Path) -> str:
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _flag(name: str, value: str) -> str:
    """A value that begins like a flag needs the equals sign."""
    return shlex.quote(f"{name}={value}") if value.startswith("-") else f"{name} {shlex.quote(value)}"
