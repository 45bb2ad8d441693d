"""What there is to run on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
import torch
import yaml

from orchestrator.grid.cpu_quota import usable_cores

RESOURCES = ("CPU", "GPU")
CONFIG_FLAG = "--autoscaling-config="
"""Of the process that Ray's autoscaler is."""


@dataclass(frozen=True)
class Hardware:
    """CPU cores, GPUs and nodes of the running Ray cluster, or of this machine."""

    cpus: int
    gpus: int
    """Those of nodes that an autoscaler may still start are among them, and so are their cores."""
    nodes: int
    """There now."""
    cluster: bool

    def describe(self) -> str:
        """For a person."""
        where = f"a Ray cluster of {self.nodes} nodes" if self.cluster else "this machine"
        return f"{where} with {self.cpus} CPU cores and {self.gpus or 'no'} GPU{'' if self.gpus == 1 else 's'}"


def detect(connect: bool) -> Hardware:
    """The running Ray cluster if `connect`, else this machine."""
    if connect:
        now, may_come = ray.cluster_resources(), largest(autoscaler_config())
        cpus, gpus = (int(max(now.get(name, 0), may_come[name])) for name in RESOURCES)
        return Hardware(cpus or 1, gpus, sum(node["Alive"] for node in ray.nodes()), cluster=True)
    return Hardware(usable_cores(), torch.cuda.device_count(), 1, cluster=False)


def largest(config: Mapping[str, Any]) -> dict[str, float]:
    """The most CPU cores, and the most GPUs, that a cluster of `ray up` may have; 0 of what its file has none.

    The file has the resources of its node types: `ray up` asks the cloud for those that it was not told.
    """
    types: Mapping[str, Any] = config.get("available_node_types") or {}
    head = types.get(config.get("head_node_type") or "", {})
    found = {}
    for name in RESOURCES:
        of_each = [
            (kind.get("resources") or {}).get(name, 0)
            for kind in types.values()
            if kind is not head
            for _ in range(kind.get("max_workers", config.get("max_workers", 0)))
        ]
        workers = sorted(of_each, reverse=True)[: config.get("max_workers", 0)]
        found[name] = (head.get("resources") or {}).get(name, 0) + sum(workers)
    return found


def autoscaler_config() -> Mapping[str, Any]:
    """The file of the autoscaler that runs on this machine, where the head is; empty elsewhere.

    Ray has a call for the same, which no release has an answer to but a vendor's.
    """
    for process in psutil.process_iter(["cmdline"]):
        for argument in process.info["cmdline"] or ():
            if argument.startswith(CONFIG_FLAG):
                path = Path(argument.removeprefix(CONFIG_FLAG)).expanduser()
                return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {}
