"""Who runs which code on what, as tags of a run; by MLflow's own names where it has columns for them."""

import getpass
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch

from orchestrator.redaction import redact


def environment_tags() -> dict[str, str]:
    """User, script, git commit, package versions, host, CPU and GPUs; what cannot be found out is left out."""
    tags = {"version.python": platform.python_version(), "host": platform.node(), "cpu.count": str(os.cpu_count())}
    tags |= {"mlflow.source.name": _script(), "mlflow.source.type": "LOCAL", **_user(), **_commit()}
    for package in ("torch", "triton", "ray", "transformers", "mlflow"):
        try:
            tags[f"version.{package}"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(
        r"^model name\s*: (.+)$", cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else "", re.MULTILINE
    )
    tags["cpu.model"] = model[1] if model else platform.machine()
    if torch.cuda.is_available():
        tags["gpu"] = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return tags


def _user() -> dict[str, str]:
    try:
        return {"mlflow.user": getpass.getuser()}
    except (KeyError, OSError):  # of a container, where nobody has that number
        return {}


def _script() -> str:
    """The program that runs, by its place in the repository where it is there."""
    script = Path(sys.argv[0])
    repository = Path(__file__).resolve().parents[2]
    return str(script.resolve().relative_to(repository)) if script.resolve().is_relative_to(repository) else script.name


def _commit() -> dict[str, str]:
    """The commit of this checkout. An installed copy may lie inside someone's checkout without being part of it."""
    if not _git("ls-files", "__init__.py") or not (commit := _git("rev-parse", "HEAD")):
        return {}
    origin = _git("remote", "get-url", "origin") or ""
    found = {
        "commit": commit,
        "dirty": str(bool(_git("status", "--porcelain"))).lower(),
        "branch": _git("symbolic-ref", "--short", "--quiet", "HEAD"),  # none where a commit is checked out by itself
        "repoURL": None if Path(origin).is_absolute() else redact(origin),
    }
    return {f"mlflow.source.git.{name}": value for name, value in found.items() if value}


def _git(*command: str) -> str | None:
    """Output of git in the directory of this file, None without git or a checkout."""
    try:
        here = Path(__file__).parent
        # Inside a git hook, or where someone exports them, these name another repository.
        ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        done = subprocess.run(["git", *command], cwd=here, capture_output=True, text=True, check=True, env=ours)
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
