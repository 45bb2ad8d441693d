"""How do ITO, sliced latents and a decoder per step compare with the matching-pursuit SAE, at each layer of SmolLM2?"""

import sys
from dataclasses import replace

from orchestrator.driver.cli import main
from sweeps import smollm_grid

VARIANTS = ("topk", "mp", "ito", "mp-sliced", "mp-big-decoder")
PRESETS = {
    "laptop": replace(
        smollm_grid.PRESETS["laptop"],
        hookpoint=("layers.10", "layers.15", "layers.20"), variant=VARIANTS, k=(16,), seed=(0, 1),
    ),
    "paper": replace(
        smollm_grid.PRESETS["paper"],
        hookpoint=("layers.10", "layers.15", "layers.20"), variant=VARIANTS, k=(32,), expansion_factor=(32,),
    ),
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(__doc__, "smollm_ablation", PRESETS))
