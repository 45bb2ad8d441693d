"""What a result must say about where it comes from."""

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.memory import total_bytes

PACKAGES = ("torch", "triton", "numpy", "sae-lens", "overcomplete", "eai-sparsify", "dictionary-learning")
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def describe_machine(device: str, threads: int) -> dict[str, str]:
    """Hardware, versions, commit, date and command."""
    described = {
        "machine": f"{_cpu()}, {os.cpu_count()} cores, {total_bytes() / 2**30:.0f} GiB",
        "device": torch.cuda.get_device_name() if device == "cuda" else f"CPU, {threads} threads",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{package} {version}" for package in PACKAGES if (version := _version(package))),
        "commit": _commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["python", "-m", "benchmarks.run", *sys.argv[1:]]),
    }
    if device == "cuda":
        described["device"] += f", CUDA {torch.version.cuda}"
    return described


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    flags = [flag for flag in _FLAGS if flag in fields.get("flags", "").split()]
    family = f"family {fields.get('cpu family')} model {fields.get('model')}" if "cpu family" in fields else ""
    return f"{fields.get('model name', platform.machine())} ({' '.join([family, *flags]).strip()})"


def _commit() -> str:
    try:
        git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
