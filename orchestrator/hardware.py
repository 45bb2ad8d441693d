"""What there is to run on, and how trials and extractors share it."""

import os
from dataclasses import dataclass

import ray
import torch

from orchestrator.errors import UserError

FEW_GPUS = 4
"""Below this many GPUs extractors share a trial's GPU instead of taking one of their own."""
SHARED_FRACTION = 0.1
"""Part of a GPU that an extractor takes where it shares one."""
TRIALS_PER_EXTRACTOR = 8
"""GPUs for trials that one extracting GPU is assumed to feed."""


@dataclass(frozen=True)
class Hardware:
    """CPU cores, GPUs and nodes of the running Ray cluster, or of this machine."""

    cpus: int
    gpus: int
    nodes: int
    cluster: bool

    def describe(self) -> str:
        """For a person."""
        where = f"a Ray cluster of {self.nodes} nodes" if self.cluster else "this machine"
        return f"{where} with {self.cpus} CPU cores and {self.gpus or 'no'} GPU{'' if self.gpus == 1 else 's'}"


@dataclass(frozen=True)
class Shares:
    """Resources of each trial and of the extractors."""

    trial: dict[str, float]
    concurrent: int
    """Trials that run at once."""
    extractors: int
    extractor: dict[str, float]
    """Ray options of an extractor."""


def detect(connect: bool) -> Hardware:
    """The running Ray cluster if `connect`, else this machine."""
    if connect:
        resources = ray.cluster_resources()
        nodes = sum(node["Alive"] for node in ray.nodes())
        return Hardware(int(resources.get("CPU", 1)), int(resources.get("GPU", 0)), nodes, cluster=True)
    return Hardware(len(os.sched_getaffinity(0)), torch.cuda.device_count(), 1, cluster=False)


def share(hardware: Hardware, gpus_per_trial: float | None) -> Shares:
    """Divide the hardware. Raises UserError where trials ask for more GPU than there is beside the extractors."""
    if not hardware.gpus and not gpus_per_trial:
        # Extractors work while trials wait for them, so they are not given cores of their own.
        return Shares({"cpu": 1}, hardware.cpus, hardware.nodes, {"num_cpus": 0})
    few = hardware.gpus < FEW_GPUS
    extractors = 1 if few else -(-hardware.gpus // (TRIALS_PER_EXTRACTOR + 1))
    extractor_gpu = SHARED_FRACTION if few else 1.0
    per_trial = gpus_per_trial if gpus_per_trial else (1 - SHARED_FRACTION if few else 1.0)
    beside = hardware.gpus - extractors * extractor_gpu
    if hardware.gpus and (per_trial > beside or (few and hardware.gpus == 1 and per_trial > 1 - SHARED_FRACTION)):
        raise UserError(
            f"gpus_per_trial {per_trial}: extraction needs {extractor_gpu} GPU, so at most {beside:g} are left"
        )
    concurrent = max(1, int(beside / per_trial))
    return Shares({"cpu": 1, "gpu": per_trial}, concurrent, extractors, {"num_cpus": 0, "num_gpus": extractor_gpu})
