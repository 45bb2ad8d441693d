"""Command lines that are printed so that a person can paste them, quoted for a shell."""

import shlex
import sys
from pathlib import Path

from orchestrator.grid.base_config import BaseConfig


def resume_command(cfg: BaseConfig) -> str:
    """Continues this sweep, from the directory where the script was started."""
    return " ".join([*_this_script(), _flag("--storage", str(cfg.storage)), _flag("--resume", str(cfg.name))])


def ui_command(storage: Path) -> str:
    """Shows what is under `storage` in MLflow, from the project's directory."""
    if str(storage) == "runs":
        return "make ui"
    return f"make ui {shlex.quote('STORAGE=' + str(storage.resolve()).replace('$', '$$'))}"  # make reads $ too


def _this_script() -> list[str]:
    here = Path.cwd()
    words = (Path(sys.executable), Path(sys.argv[0]))
    return [shlex.quote(str(word.relative_to(here) if word.is_relative_to(here) else word)) for word in words]


def _flag(name: str, value: str) -> str:
    """A value that begins like a flag needs the equals sign."""
    return shlex.quote(f"{name}={value}") if value.startswith("-") else f"{name} {shlex.quote(value)}"
