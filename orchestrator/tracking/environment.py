"""What the code runs on, as tags of a run: commit, versions, machine."""

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

import torch


def environment_tags() -> dict[str, str]:
    """What the code runs on: git commit, package versions, host, CPU and GPUs; what cannot be found out is left out."""
    tags = {"version.python": platform.python_version(), "host": platform.node(), "cpu.count": str(os.cpu_count())}
    # An installed copy may lie inside someone's checkout without being part of it.
    if _git("ls-files", "__init__.py") and (commit := _git("rev-parse", "HEAD")):
        tags |= {"git.commit": commit, "git.dirty": str(bool(_git("status", "--porcelain"))).lower()}
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
