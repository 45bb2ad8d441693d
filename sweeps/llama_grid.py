"""Do matching-pursuit SAEs reconstruct the MLPs of Llama-3.2-1B better than TopK SAEs?

The laptop preset trains on a Llama of random weights (`small-llama`, made on this machine): it tries the sweep out and
says nothing about Llama-3.2-1B.
"""

import sys
from dataclasses import replace

from orchestrator.driver.cli import main
from sweeps import smollm_grid

HOOKPOINTS = ("layers.4.mlp", "layers.8.mlp", "layers.12.mlp")
VARIANTS = ("topk", "mp", "ito", "mp-sliced")  # a decoder per step would take 70 GB with gradients and moments
PRESETS = {
    "laptop": replace(
        smollm_grid.PRESETS["laptop"],
        model=("small-llama",), hookpoint=HOOKPOINTS, variant=VARIANTS, k=(16,), expansion_factor=(8,),
    ),
    "paper": replace(
        smollm_grid.PRESETS["paper"],
        model=("meta-llama/Llama-3.2-1B",), hookpoint=HOOKPOINTS, variant=VARIANTS, k=(32,), expansion_factor=(32,),
    ),
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(__doc__, "llama_grid", PRESETS))
