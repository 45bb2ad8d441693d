"""What the kit's stages share: each is a process that is told where things are."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu import findings
from benchmarks.gpu.sizes import Sizes, sizes
from benchmarks.host_shards import HostShards
from orchestrator.activations.excluded_tokens import massive_tokens
from orchestrator.activations.shards import Shard

MASSIVE_MULTIPLE = 10.0
"""Of the median norm, as in sweeps."""

HOOKPOINTS = ("layers.10", "layers.10.mlp")
"""The residual stream, and what the MLP adds to it."""
TRAIN, VAL = "train", "val"


@dataclass(frozen=True)
class Stage:
    """One stage's surroundings."""

    name: str
    out: Path
    work: Path
    """For what the stages leave each other."""
    pack: Path
    dry: bool
    rest: list[str]
    """Further words of the command line."""

    @classmethod
    def from_command_line(cls, name: str, arguments: Sequence[str] | None = None) -> "Stage":
        """Read what `check` wrote."""
        parser = argparse.ArgumentParser()
        for flag in ("--out", "--work", "--pack"):
            parser.add_argument(flag, type=Path, required=True)
        parser.add_argument("--dry", action="store_true")
        given, rest = parser.parse_known_args(arguments)
        if given.dry:
            torch.set_num_threads(1)
        return cls(name, rest=rest, **vars(given))

    @property
    def sizes(self) -> Sizes:
        """How large everything is."""
        return sizes(self.dry)

    @property
    def device(self) -> torch.device:
        """The GPU where there is one."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def note(self, **finding: object) -> None:
        """Write a finding down."""
        findings.note(self.out, self.name, **finding)

    def activations_path(self, split: str, hookpoint: str) -> Path:
        """Of activations [tokens, D] float16, mapped into memory when read."""
        return self.work / f"{split}-{hookpoint}.npy"

    def host_shards(self, split: str, hookpoint: str, most: int | None = None) -> HostShards:
        """Activations read into memory, of all shards or the first `most`.

        First positions are gone already; massive tokens are left out as in a sweep.
        """
        values_TD = np.load(self.activations_path(split, hookpoint), mmap_mode="r")
        size = self.sizes.shard_tokens
        values_TD = values_TD[: most and most * size]
        return HostShards([_shard(np.array(values_TD[i : i + size])) for i in range(0, len(values_TD), size)])


def _shard(values_TD: np.ndarray) -> Shard:
    norm_T = torch.from_numpy(values_TD).float().norm(dim=1).numpy()
    everything = np.ones(len(values_TD), dtype=bool)
    return Shard(values_TD, everything, massive_tokens([norm_T], everything, MASSIVE_MULTIPLE))
