"""Does any matching-pursuit transcoder predict SmolLM2's MLPs better than the skip transcoder (sst)?"""

import sys
from dataclasses import replace

from orchestrator.driver.cli import main
from sweeps import smollm_grid

VARIANTS = (
    "sst", "mp-transcoder", "mp-transcoder-free-encoder", "mp-transcoder-separate-subtraction",
    "mp-transcoder-decoder-subtraction", "mp-transcoder-ito",
)  # fmt: skip
PRESETS = {
    "laptop": replace(
        smollm_grid.PRESETS["laptop"],
        hookpoint=("layers.10.mlp",), variant=VARIANTS, k=(16,), seed=(0, 1),
    ),
    "paper": replace(
        smollm_grid.PRESETS["paper"],
        hookpoint=("layers.10.mlp", "layers.15.mlp", "layers.20.mlp"), variant=VARIANTS, k=(32,),
        expansion_factor=(32,),
    ),
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(__doc__, "transcoders", PRESETS))
