"""How many CPU cores a container may use: its quota, which the number of cores that it sees does not tell."""

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Cores that this process may run on and has time for, at least 1."""
    quota = cpu_quota(CGROUPS, OWN.read_text(encoding="utf-8") if OWN.is_file() else "")
    allowed = len(os.sched_getaffinity(0))
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def cpu_quota(root: Path, own: str) -> float | None:
    """The smallest quota in cores of a process whose `/proc/self/cgroup` says `own`; None without one.

    Both versions of cgroups; a quota of any group above holds too. Within a container its own group is often `root`.
    """
    quotas = []
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root if not controllers else root / "cpu" if (root / "cpu").is_dir() else root / controllers
        group = base / path.lstrip("/")
        quotas += [
            found for place in (group, *group.parents) if place.is_relative_to(base) and (found := _quota(place))
        ]
    return min(quotas, default=None)


def _quota(group: Path) -> float | None:
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota, period = (
                (group / f"cpu.cfs_{name}_us").read_text(encoding="utf-8").strip() for name in ("quota", "period")
            )
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError):
        return None
