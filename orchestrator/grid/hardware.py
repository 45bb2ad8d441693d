"""What there is to run on."""

from dataclasses import dataclass

import ray
import torch
from ray._private.state import state

from orchestrator.grid.cpu_quota import usable_cores


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
        now, may_come = ray.cluster_resources(), state.get_max_resources_from_cluster_config() or {}
        cpus, gpus = (int(max(now.get(name, 0), may_come.get(name, 0))) for name in ("CPU", "GPU"))
        return Hardware(cpus or 1, gpus, sum(node["Alive"] for node in ray.nodes()), cluster=True)
    return Hardware(usable_cores(), torch.cuda.device_count(), 1, cluster=False)
