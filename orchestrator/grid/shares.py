"""How many GPUs and cores each trial and each extractor gets."""

from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UserError
from orchestrator.grid.hardware import Hardware

FEW_GPUS = 4
"""Below this many GPUs extractors share a trial's GPU instead of taking one of their own."""
SHARED_FRACTION = 0.1
"""Part of a GPU that an extractor takes where it shares one."""
TRIALS_PER_EXTRACTOR = 8
"""GPUs for trials that one extracting GPU is assumed to feed."""

A_BYTE = 1
"""Of memory: Ray draws a node for an actor that asks for nothing, whatever its strategy says."""
EXTRACTORS_PER_NODE = 4
"""Language models loaded on a machine without GPUs, at most; one per core below that."""


@dataclass(frozen=True)
class Shares:
    """Resources of each trial and of the extractors."""

    trial: dict[str, float]
    concurrent: int
    """Trials that run at once."""
    extractors: int
    """Of each model."""
    extractor: dict[str, Any]
    """Ray options of an extractor."""
    extractor_threads: int

    def describe(self, models: int) -> str:
        """Where the language models run, for a person."""
        number = self.extractors * models
        who = f"{number} extractor{'s' * (number != 1)}"
        gpu = self.extractor.get("num_gpus", 0)
        if not gpu:
            threads = f"{self.extractor_threads} thread{'s' * (self.extractor_threads != 1)}"
            return f"extraction: {who} of {threads}, over all nodes, on cores that trials leave idle"
        each, spread = (", each", ", spread over the nodes") if number > 1 else ("", "")
        of_trials = self.trial["gpu"]
        if gpu < 1:
            beside = "beside trials" if of_trials <= 1 - SHARED_FRACTION else "where no trial fits beside it"
            where = f"{each} with {gpu:g} of a GPU{spread}, {beside}"
        else:
            where = f"{each} on a GPU of its own{spread}"
        return f"extraction: {who}{where}; each trial has {of_trials:g} GPU{'s' * (of_trials > 1)}"


def share(hardware: Hardware, gpus_per_trial: float | None, models: int = 1) -> Shares:
    """Divide the hardware; every one of the `models` has extractors of its own.

    A cluster without GPUs may get some (an autoscaler starts nodes for what is asked of it); a lone machine does not.
    Raises UserError where trials ask for more GPU than there is beside the extractors.
    """
    if gpus_per_trial and not hardware.gpus and not hardware.cluster:
        raise UserError(f"gpus_per_trial {gpus_per_trial:g}: there is no GPU; leave it out to train on CPU cores")
    if not (hardware.gpus if gpus_per_trial is None else gpus_per_trial):
        # Extractors work while trials wait for them, so they get no cores of their own. Several with few threads each,
        # because the threads of one would wait for each other wherever a trial has taken a core.
        cores = max(1, hardware.cpus // hardware.nodes)
        per_node = max(1, min(cores, EXTRACTORS_PER_NODE) // models)
        options = {"num_cpus": 0, "memory": A_BYTE, "scheduling_strategy": "SPREAD"}
        return Shares({"cpu": 1}, max(1, hardware.cpus), hardware.nodes * per_node, options, cores // per_node)
    few = hardware.gpus < FEW_GPUS
    of_each = 1 if few else -(-hardware.gpus // (TRIALS_PER_EXTRACTOR + 1) // models)
    extractors = 1 if few else of_each * models  # those that share one GPU count as one
    extractor_gpu = SHARED_FRACTION if few else 1.0
    per_trial = gpus_per_trial or (1 - SHARED_FRACTION if few else 1.0)
    concurrent = _trials_that_fit(hardware.gpus, extractors, extractor_gpu, per_trial)
    if hardware.gpus and not concurrent:
        largest = hardware.gpus - extractors if hardware.gpus > extractors else 1 - extractor_gpu
        raise UserError(
            f"gpus_per_trial {per_trial:g}: must be at most {largest:g} of this hardware's {hardware.gpus}, "
            f"since extraction takes {extractors * extractor_gpu:g}"
        )
    # Shards stay where they are computed: extractors on one node would send them all from there.
    gpu_of_each = extractor_gpu / models if few else extractor_gpu
    options = {"num_cpus": 0, "num_gpus": gpu_of_each, "scheduling_strategy": "SPREAD"}
    return Shares({"cpu": 1, "gpu": per_trial}, max(1, concurrent), of_each, options, extractor_threads=1)


def _trials_that_fit(gpus: int, extractors: int, extractor_gpu: float, per_trial: float) -> int:
    """Trials that run at once: a fraction comes out of one GPU, more than one are whole GPUs."""
    untouched, beside_extractor = gpus - extractors, 1 - extractor_gpu
    if per_trial > 1:
        return int(untouched // per_trial)
    slack = 1e-9  # 1 / 0.1 in floating point may fall short of 10
    shared = extractors * int(beside_extractor / per_trial + slack) if gpus else 0
    return max(0, untouched) * int(1 / per_trial + slack) + shared
